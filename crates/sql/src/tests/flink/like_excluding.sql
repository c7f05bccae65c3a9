CREATE TABLE Orders_in_file (
    `user` BIGINT,
    product STRING,
    order_time_string STRING,
    order_time AS TO_TIMESTAMP(order_time_string)
)
WITH (
    'connector' = 'filesystem',
    'path' = 'orders.csv',
    'format' = 'csv'
);
CREATE TABLE Orders_in_kafka (
    -- watermark definition
    WATERMARK FOR order_time AS order_time - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka', 'topic'='x', 'properties.bootstrap.servers'='b:1','scan.startup.mode'='earliest-offset','format'='csv'
)
LIKE Orders_in_file (
    -- Exclude everything besides the computed columns which we need to generate the watermark for.
    -- We do not want to have the partitions or filesystem options as those do not apply to kafka.
    EXCLUDING ALL
    INCLUDING GENERATED
);
CREATE TABLE o WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o') LIKE Orders_in_file (EXCLUDING ALL);
INSERT INTO o SELECT `user`, product, order_time_string FROM Orders_in_file;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
-- warning OF0215 14:5 WATERMARK
