CREATE TABLE orders (id BIGINT, customer STRING, r ROW<x INT, why STRING>) WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'json');
CREATE TABLE target (id BIGINT, customer STRING) WITH ('connector' = 'blackhole');
INSERT INTO target SELECT id, customer FORM orders;
INSERT INTO target SELECT id, customer FROM orders WHER id > 1;
INSERT INTO target SELCT id, customer FROM orders;
INSERT INTO target SELECT CAST(customer AS BIGNT), customer FROM orders;
INSERT INTO target SELECT MAP['a'], customer FROM orders WHERE MAP[] IS NULL;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0201 3:40 FORM
-- error OF0201 4:52 WHER
-- error OF0201 5:20 SELCT
-- error OF0210 6:44 BIGNT
-- error OF0201 7:64 MAP
