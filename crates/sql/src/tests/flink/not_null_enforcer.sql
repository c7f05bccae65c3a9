SET 'table.exec.sink.not-null-enforcer' = 'DROP';
SET 'table.sql-dialect' = 'hive';
SET 'table.local-time-zone' = 'Europe/Berlin';
CREATE TABLE src (a INT NOT NULL, b STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '10');
CREATE TABLE dst (a INT NOT NULL, b STRING) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='dst');
INSERT INTO dst SELECT a, b FROM src;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0250 2:27 'hive'
-- error OF0250 3:31 'Europe/Berlin'
