CREATE TABLE orders (order_id STRING, price DECIMAL(32,2), currency STRING, order_time TIMESTAMP(3), WATERMARK FOR order_time AS order_time)
WITH ('connector'='kafka','topic'='o','properties.bootstrap.servers'='b:1','scan.startup.mode'='earliest-offset','format'='json');
CREATE TABLE currency_rates (currency STRING, conversion_rate DECIMAL(32, 2), update_time TIMESTAMP(3) METADATA FROM 'values.source.timestamp' VIRTUAL,
 WATERMARK FOR update_time AS update_time, PRIMARY KEY(currency) NOT ENFORCED) WITH ('connector'='kafka','topic'='r','properties.bootstrap.servers'='b:1','value.format'='debezium-json');
CREATE TABLE o (order_id STRING, price DECIMAL(32,2)) WITH ('connector'='print');
INSERT INTO o SELECT
     orders.order_id, orders.price * conversion_rate
FROM orders
LEFT JOIN currency_rates FOR SYSTEM_TIME AS OF orders.order_time
ON orders.currency = currency_rates.currency;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0310 9:26 FOR SYSTEM_TIME
