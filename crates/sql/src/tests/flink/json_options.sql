CREATE TABLE src (a INT, m MAP<STRING, STRING>, d DECIMAL(10, 2)) WITH (
  'connector' = 'kafka', 'topic' = 'x', 'properties.bootstrap.servers' = 'b:9092', 'properties.group.id' = 'g',
  'scan.startup.mode' = 'group-offsets', 'properties.auto.offset.reset' = 'earliest', 'value.format' = 'json',
  'value.json.fail-on-missing-field' = 'true', 'value.json.map-null-key.mode' = 'LITERAL', 'value.json.map-null-key.literal' = 'null',
  'value.json.encode.decimal-as-plain-number' = 'true', 'value.json.timestamp-format.standard' = 'ISO-8601'
);
CREATE TABLE dst (a INT, c STRING, d DECIMAL(10, 2)) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='dst');
INSERT INTO dst SELECT a, m['colour'], d FROM src WHERE d IS NOT NULL;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
-- warning OF0227 4:48 'value.json.map-null-key.mode'
-- warning OF0227 4:92 'value.json.map-null-key.literal'
-- warning OF0227 5:3 'value.json.encode.decimal-as-plain-number'
