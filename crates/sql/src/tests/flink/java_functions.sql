CREATE FUNCTION parse_ua AS 'com.example.udf.ParseUserAgent' LANGUAGE JAVA USING JAR 'hdfs:///udf.jar';
CREATE TEMPORARY SYSTEM FUNCTION mask AS 'x.Mask';
CREATE TABLE s (a STRING) WITH ('connector'='datagen');
CREATE TABLE o (a STRING) WITH ('connector'='print');
INSERT INTO o SELECT mask(a) FROM s;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0264 1:17 parse_ua
-- error OF0264 2:34 mask
