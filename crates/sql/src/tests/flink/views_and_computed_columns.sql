CREATE TABLE t (
  id BIGINT NOT NULL, price DECIMAL(10,2), qty INT,
  total AS price * qty,
  ts_ltz AS TO_TIMESTAMP_LTZ(id, 3),
  dt AS DATE_FORMAT(TO_TIMESTAMP_LTZ(id, 3), 'yyyy-MM-dd')
) WITH ('connector'='filesystem','path'='x.jsonl','format'='json');
CREATE TEMPORARY VIEW v AS SELECT id, total, dt FROM t WHERE total > 10;
CREATE TABLE o (id BIGINT, total DECIMAL(21,2), dt STRING) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT * FROM v;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
