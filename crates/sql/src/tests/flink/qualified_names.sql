CREATE TABLE src (a INT, b STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '10');
CREATE TABLE dst (a INT, b STRING) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='dst');
INSERT INTO dst SELECT a, b FROM default_catalog.default_database.src;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0209 3:34 default_catalog
