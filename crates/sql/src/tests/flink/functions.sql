CREATE TABLE logs (
  `timestamp` TIMESTAMP_LTZ(3), level STRING, message STRING, `value` DOUBLE, json STRING
) WITH ('connector'='filesystem','path'='x','format'='json','json.timestamp-format.standard'='ISO-8601');
CREATE TABLE o (day_ STRING, h BIGINT, level STRING, m STRING, v STRING, k STRING, c INT, d DATE, u STRING, e BOOLEAN) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='o');
INSERT INTO o
SELECT DATE_FORMAT(`timestamp`, 'yyyy-MM-dd HH:mm'), HOUR(`timestamp`), CASE level WHEN 'E' THEN 'error' ELSE LOWER(level) END,
 REGEXP_EXTRACT(message, 'user=(\w+)', 1), JSON_VALUE(json, '$.a.b'), COALESCE(NULLIF(TRIM(BOTH ' ' FROM message), ''), 'none'),
 CHAR_LENGTH(message), CAST(`timestamp` AS DATE), SPLIT_INDEX(message, '|', 2), message LIKE '%x%' AND `value` IS NOT NULL
FROM logs WHERE NOT (level = 'D' OR `value` BETWEEN 1 AND 2.5) AND EXTRACT(YEAR FROM `timestamp`) >= 2020;

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
