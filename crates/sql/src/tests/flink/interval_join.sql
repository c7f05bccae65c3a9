CREATE TABLE Orders (id BIGINT, order_time TIMESTAMP(3)) WITH ('connector'='filesystem','path'='x','format'='json');
CREATE TABLE Shipments (order_id BIGINT, ship_time TIMESTAMP(3)) WITH ('connector'='filesystem','path'='y','format'='json');
CREATE TABLE o (id BIGINT) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT o.id
FROM Orders o, Shipments s
WHERE o.id = s.order_id
AND o.order_time BETWEEN s.ship_time - INTERVAL '4' HOUR AND s.ship_time;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0310 5:16 Shipments s
