CREATE CATALOG my_catalog WITH ('type' = 'jdbc', 'base-url' = 'jdbc:postgresql://localhost:5432', 'default-database' = 'x', 'username'='a','password'='b');
USE CATALOG my_catalog;
CREATE DATABASE IF NOT EXISTS shop;
USE shop;
SHOW TABLES;
INSERT INTO my_catalog.shop.orders SELECT * FROM default_catalog.default_database.src;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0204 1:8 CATALOG
-- error OF0204 2:1 USE
-- error OF0204 3:8 DATABASE
-- error OF0204 4:1 USE
-- error OF0204 5:1 SHOW
-- error OF0204 6:13 my_catalog
