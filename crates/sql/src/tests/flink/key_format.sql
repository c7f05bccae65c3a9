CREATE TABLE KafkaTable (
  `ts` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  key_id BIGINT, key_kind STRING, id BIGINT, v STRING
) WITH (
  'connector' = 'kafka', 'topic' = 'a;b', 'properties.bootstrap.servers' = 'localhost:9092,other:9092',
  'key.format' = 'json', 'key.json.ignore-parse-errors' = 'true', 'key.fields' = 'key_id;key_kind', 'key.fields-prefix' = 'key_',
  'value.format' = 'json', 'value.json.fail-on-missing-field' = 'false', 'value.fields-include' = 'EXCEPT_KEY',
  'scan.startup.mode' = 'specific-offsets', 'scan.startup.specific-offsets' = 'partition:0,offset:42;partition:1,offset:300',
  'scan.bounded.mode' = 'latest-offset', 'properties.security.protocol' = 'SASL_SSL', 'properties.sasl.mechanism' = 'PLAIN',
  'properties.sasl.jaas.config' = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p";'
);
CREATE TABLE o (k BIGINT, id BIGINT) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o SELECT key_id, id FROM KafkaTable;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
