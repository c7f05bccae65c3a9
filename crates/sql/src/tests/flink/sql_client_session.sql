SET execution.checkpointing.interval = 10s;
SET sql-client.execution.result-mode = tableau;
RESET 'pipeline.name';
ADD JAR '/path/x.jar';
DROP TABLE IF EXISTS x;
CREATE TABLE IF NOT EXISTS s (a INT) WITH ('connector'='datagen');
DESCRIBE s;
EXPLAIN PLAN FOR SELECT * FROM s;
SELECT * FROM s LIMIT 10;
CREATE TABLE x WITH ('connector'='print') AS SELECT * FROM s;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0201 1:5 execution
-- error OF0201 2:5 sql
-- error OF0204 3:1 RESET
-- error OF0204 4:1 ADD
-- error OF0204 5:1 DROP
-- error OF0204 7:1 DESCRIBE
-- error OF0204 8:1 EXPLAIN
-- error OF0204 9:1 SELECT
-- error OF0213 10:43 AS
