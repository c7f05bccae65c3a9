CREATE TABLE s (id BIGINT, city STRING, amount DOUBLE) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE o (city STRING, n BIGINT, total DOUBLE, PRIMARY KEY (city) NOT ENFORCED) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT city, COUNT(*) AS n, SUM(amount) AS total FROM s GROUP BY city;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0315 3:13 o
