CREATE TABLE s (id BIGINT, a STRING, b INT) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE o (id BIGINT, m MAP<STRING, INT>, r ROW<x STRING, y INT>, l ARRAY<STRING>) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT id, MAP['k', b, 'l', 2], ROW(a, b), ARRAY[a, 'x'] FROM s;
INSERT INTO o SELECT id, MAP[a, b], (a, b), ARRAY[a] FROM s;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
