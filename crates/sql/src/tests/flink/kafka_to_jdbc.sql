-- Orders from Kafka into MySQL's sister
CREATE TABLE orders (
    order_id     BIGINT,
    user_id      BIGINT,
    product      STRING,
    amount       DECIMAL(10, 2),
    order_time   TIMESTAMP(3),
    WATERMARK FOR order_time AS order_time - INTERVAL '5' SECOND
) WITH (
    'connector' = 'kafka',
    'topic' = 'orders',
    'properties.bootstrap.servers' = 'localhost:9092',
    'properties.group.id' = 'flink-orders',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json',
    'json.fail-on-missing-field' = 'false',
    'json.ignore-parse-errors' = 'true'
);

CREATE TABLE orders_pg (
    order_id     BIGINT,
    user_id      BIGINT,
    product      STRING,
    amount       DECIMAL(10, 2),
    order_time   TIMESTAMP(3),
    PRIMARY KEY (order_id) NOT ENFORCED
) WITH (
    'connector' = 'jdbc',
    'url' = 'jdbc:postgresql://localhost:5432/shop',
    'table-name' = 'orders',
    'driver' = 'org.postgresql.Driver',
    'username' = 'flink',
    'password' = 'secret',
    'sink.buffer-flush.max-rows' = '500',
    'sink.buffer-flush.interval' = '2s',
    'sink.max-retries' = '3',
    'sink.parallelism' = '2'
);

INSERT INTO orders_pg SELECT order_id, user_id, product, amount, order_time FROM orders;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
-- warning OF0215 8:5 WATERMARK
-- warning OF0227 31:5 'driver'
-- warning OF0227 34:5 'sink.buffer-flush.max-rows'
-- warning OF0227 35:5 'sink.buffer-flush.interval'
-- warning OF0227 36:5 'sink.max-retries'
-- warning OF0227 37:5 'sink.parallelism'
