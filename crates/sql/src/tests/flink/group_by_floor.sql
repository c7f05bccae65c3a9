SET 'table.local-time-zone' = 'UTC';
SET 'table.exec.mini-batch.enabled' = 'true';
CREATE TABLE s (user_id BIGINT, amount DECIMAL(10,2), ts TIMESTAMP(3)) COMMENT 'raw' WITH ('connector'='filesystem','path'='x','format'='csv','csv.field-delimiter'=';','csv.ignore-parse-errors'='true','csv.allow-comments'='true','csv.null-literal'='');
CREATE TABLE o (h TIMESTAMP(3), n BIGINT, s DECIMAL(38,2), PRIMARY KEY (h) NOT ENFORCED) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o','merge.n'='sum','merge.s'='sum');
INSERT INTO o (h, n, s) SELECT FLOOR(ts TO HOUR), COUNT(*), SUM(amount) FROM s WHERE amount > 0 GROUP BY FLOOR(ts TO HOUR);

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
-- warning OF0251 1:5 'table.local-time-zone'
-- warning OF0251 2:5 'table.exec.mini-batch.enabled'
