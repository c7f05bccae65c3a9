CREATE TABLE s (id BIGINT, v DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE o (id BIGINT, v DOUBLE) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT id, SUM(v) OVER (PARTITION BY id ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW) FROM s;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0312 3:26 SUM
