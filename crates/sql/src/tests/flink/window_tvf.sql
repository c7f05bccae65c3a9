CREATE TABLE bid (bidtime TIMESTAMP(3), price DECIMAL(10, 2), item STRING, supplier_id STRING,
 WATERMARK FOR bidtime AS bidtime - INTERVAL '1' SECOND) WITH ('connector'='kafka','topic'='bid','properties.bootstrap.servers'='b:1','scan.startup.mode'='earliest-offset','format'='json');
CREATE TABLE o (window_start TIMESTAMP(3), window_end TIMESTAMP(3), total_price DECIMAL(38,2)) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o
SELECT window_start, window_end, SUM(price) AS total_price
  FROM TABLE(
    TUMBLE(TABLE bid, DESCRIPTOR(bidtime), INTERVAL '10' MINUTES))
  GROUP BY window_start, window_end;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0311 7:5 TUMBLE
