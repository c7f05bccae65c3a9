SET 'execution.checkpointing.interval' = '10s';
SET 'parallelism.default' = '4';
SET 'table.exec.sink.not-null-enforcer' = 'DROP';
SET 'table.exec.state.ttl' = '1 h';
SET 'pipeline.name' = 'fan out';
CREATE TEMPORARY TABLE clicks (id BIGINT, kind STRING, `user` ROW<id BIGINT, name STRING>, ts BIGINT) WITH (
 'connector' = 'kafka', 'topic' = 'clicks', 'properties.bootstrap.servers' = 'b:9092', 'scan.startup.mode' = 'timestamp',
 'scan.startup.timestamp-millis' = '1700000000000', 'value.format' = 'json');
CREATE TABLE a (id BIGINT, uid BIGINT) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='a');
CREATE TABLE b (id BIGINT, name STRING) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='b');
EXECUTE STATEMENT SET
BEGIN
  INSERT INTO a SELECT id, `user`.id FROM clicks WHERE kind = 'a';
  INSERT INTO b SELECT id, clicks.`user`.name FROM clicks WHERE kind IN ('b', 'c');
END;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
-- warning OF0251 1:5 'execution.checkpointing.interval'
-- warning OF0251 2:5 'parallelism.default'
-- warning OF0251 3:5 'table.exec.sink.not-null-enforcer'
-- warning OF0251 4:5 'table.exec.state.ttl'
