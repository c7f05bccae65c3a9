CREATE TABLE s (a STRING) WITH ('connector'='kafka','topic'='x','properties.bootstrap.servers'='b:1','format'='json');
CREATE TABLE o (a STRING) WITH ('connector'='print');
INSERT INTO o /*+ OPTIONS('sink.parallelism'='3') */ SELECT a FROM s /*+ OPTIONS('scan.startup.mode'='earliest-offset') */;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0204 3:15 /*+ OPTIONS('sink.parallelism'='3') */
-- error OF0204 3:70 /*+ OPTIONS('scan.startup.mode'='earliest-offset') */
