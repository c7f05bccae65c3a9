CREATE TABLE s (u STRING, rowtime TIMESTAMP(3), WATERMARK FOR rowtime AS rowtime) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE o (u STRING, st TIMESTAMP(3), c BIGINT) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT u, HOP_START(rowtime, INTERVAL '5' MINUTE, INTERVAL '1' HOUR) as st, COUNT(*) c FROM s GROUP BY HOP(rowtime, INTERVAL '5' MINUTE, INTERVAL '1' HOUR), u;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0311 3:25 HOP_START
