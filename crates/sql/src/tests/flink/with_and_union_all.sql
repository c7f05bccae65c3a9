CREATE TABLE s1 (id BIGINT, v VARCHAR(20)) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE s2 (id BIGINT, v VARCHAR(20)) WITH ('connector'='filesystem','path'='y','format'='json');
CREATE VIEW both_ (id, v, src) AS SELECT id, v, 'a' FROM s1 UNION ALL SELECT id, v, 'b' FROM s2;
CREATE TABLE o (id BIGINT, v STRING, src STRING) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o WITH f AS (SELECT * FROM both_ WHERE id % 2 = 0), g AS (SELECT id, v, src FROM f WHERE v IS NOT NULL) SELECT * FROM g;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
