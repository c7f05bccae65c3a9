CREATE TABLE s (id BIGINT, v STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE o (id BIGINT, v STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o
SELECT id, v FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY ts DESC) AS rownum FROM s
) WHERE rownum = 1;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0312 5:13 ROW_NUMBER
