CREATE TABLE s (id BIGINT, tags ARRAY<STRING>, attrs MAP<STRING, STRING>, items ARRAY<ROW<sku STRING, qty INT>>) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE o (id BIGINT, tag STRING, colour STRING, n INT) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT id, tag, attrs['colour'], CARDINALITY(tags) FROM s CROSS JOIN UNNEST(tags) AS t (tag);
INSERT INTO o SELECT id, sku, CAST(NULL AS STRING), qty FROM s, UNNEST(items) AS i(sku, qty) WHERE qty > 0;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
