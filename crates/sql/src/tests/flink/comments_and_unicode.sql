/* Датасет: продажи
   второй */
--комментарий без пробела
CREATE /* here */ TABLE `продажи` ( -- колонки
  `号` BIGINT, /* id */ `имя клиента` STRING COMMENT 'имя; с точкой с запятой -- и тире',
  emoji STRING -- 🎉
) /* with */ WITH (
  'connector' /*c*/ = 'filesystem', -- x
  'path' = '/данные/*.jsonl', 'format' = 'json'
);
CREATE TABLE ö (id BIGINT, name STRING, e STRING) WITH ('connector'='jdbc','url'='jdbc:postgresql://localhost:5432/shop','table-name'='ö');
INSERT INTO ö SELECT `号`, UPPER(`имя клиента`), emoji || '😀' FROM `продажи` WHERE emoji <> 'ü--x' /* end */; -- bye

-- What is expected of it: each finding with its place and the underlined text.
-- accepted
