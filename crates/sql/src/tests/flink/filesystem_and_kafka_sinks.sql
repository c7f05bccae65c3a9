CREATE TABLE s (id BIGINT, dt STRING) WITH ('connector'='datagen','rows-per-second'='5','fields.id.kind'='sequence','fields.id.start'='1','fields.id.end'='1000','fields.dt.length'='10');
CREATE TABLE fs (id BIGINT, dt STRING) WITH ('connector'='filesystem','path'='s3://bucket/x','format'='parquet','sink.partition-commit.delay'='1 h');
CREATE TABLE k (id BIGINT) WITH ('connector'='kafka','topic'='x','properties.bootstrap.servers'='b:1','format'='json','sink.delivery-guarantee'='exactly-once','sink.transactional-id-prefix'='p');
INSERT INTO fs SELECT * FROM s;
INSERT INTO k SELECT id FROM s;

-- What is expected of it: each finding with its place and the underlined text.
-- error OF0221 2:58 'filesystem'
-- error OF0221 3:46 'kafka'
