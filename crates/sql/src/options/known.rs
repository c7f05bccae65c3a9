//! Every option of every connector and format: what exists, what other names are understood, what has no meaning here.
//!
//! docs/sql.md lists the same tables.

/// An option that has a meaning here.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name; `*` stands for any text.
    pub name: &'static str,
    /// What it says, in a few words.
    pub meaning: &'static str,
}

impl Known {
    /// Whether a name is this option's.
    pub fn matches(&self, key: &str) -> bool {
        fits(self.name, key)
    }
}

/// Whether a name fits a pattern with `*`.
fn fits(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((head, tail)) => key.len() > head.len() + tail.len() && key.starts_with(head) && key.ends_with(tail),
    }
}

macro_rules! known {
    ($($name:literal: $meaning:literal),* $(,)?) => { &[$(Known { name: $name, meaning: $meaning }),*] };
}

/// Options of `kafka` beside those of formats.
pub const KAFKA: &[Known] = known! {
    "topic": "one topic, or several: a;b",
    "topic-pattern": "a regular expression for topics, instead of 'topic'",
    "properties.bootstrap.servers": "host:port of some brokers",
    "properties.*": "a setting of the Kafka client",
    "scan.startup.mode": "where the first epoch begins: earliest-offset, latest-offset, group-offsets, timestamp, specific-offsets",
    "scan.startup.timestamp-millis": "for 'scan.startup.mode' = 'timestamp'",
    "scan.startup.specific-offsets": "for 'scan.startup.mode' = 'specific-offsets': partition:0,offset:42;partition:1,offset:300",
    "scan.bounded.mode": "where the source ends: unbounded, latest-offset, group-offsets, timestamp, specific-offsets",
    "scan.bounded.timestamp-millis": "for 'scan.bounded.mode' = 'timestamp'",
    "scan.bounded.specific-offsets": "for 'scan.bounded.mode' = 'specific-offsets'",
    "scan.topic-partition-discovery.interval": "how often to look for new partitions; 0 for never",
    "format": "the format of the value",
    "value.format": "the format of the value",
    "key.format": "the format of the key",
    "key.fields": "the columns that come from the key: a;b",
    "key.fields-prefix": "what the names of key columns begin with, beside the names in the key",
    "value.fields-include": "whether key columns are in the value as well: ALL, EXCEPT_KEY",
    "on-error": "what happens to a record that cannot be decoded: dead-letter, stop, skip",
};

/// Options of `filesystem` beside those of formats.
pub const FILES: &[Known] = known! {
    "path": "a file, a folder or a pattern such as orders/*.jsonl",
    "format": "the format of the lines",
    "source.monitor-interval": "how often to look for new lines and files; without it the source ends",
    "source.line-bytes-max": "a longer line is a dead letter",
    "on-error": "what happens to a line that cannot be decoded: dead-letter, stop, skip",
};

/// Options of `datagen`.
pub const DATAGEN: &[Known] = known! {
    "rows-per-second": "at most so many rows a second",
    "number-of-rows": "so many rows, then the source ends",
    "seed": "another seed gives other rows",
    "fields.*.kind": "sequence or random",
    "fields.*.start": "where a sequence begins",
    "fields.*.end": "where a sequence ends",
    "fields.*.min": "the least random value",
    "fields.*.max": "the greatest random value",
    "fields.*.length": "the length of random text, bytes or collections",
    "fields.*.max-past": "how far random timestamps lie in the past",
    "fields.*.null-rate": "which part of the values is NULL",
    "fields.*.var-len": "whether random text has any length up to 'length'",
};

/// Options of `jdbc`, `postgres` and `sqlite`.
pub const DATABASE: &[Known] = known! {
    "url": "jdbc:postgresql://host/database, postgresql://host/database, jdbc:sqlite:path or sqlite:path",
    "table-name": "the table, or schema.table",
    "username": "who connects",
    "password": "the password; better '${PASSWORD}' or '${file:path}'",
    "sslmode": "disable, prefer, require, verify-ca or verify-full",
    "sslrootcert": "a file of certificates",
    "write.mode": "insert-ignore: rows that conflict are left out and counted",
    "write.statement": "a statement of your own, executed once a row, with parameters :column",
    "write.expect-rows": "how many rows each execution of 'write.statement' touches",
    "merge.*": "how the column combines with what is there: sum, min, max, last, first, or, and",
    "on-error": "what happens to a row that the database refuses: dead-letter, stop, skip",
};

/// Options of `print`.
pub const PRINT: &[Known] = known! {
    "on-error": "what happens to a record that cannot be converted: dead-letter, stop, skip",
};

/// Options of `blackhole`.
pub const BLACKHOLE: &[Known] = known! {
    "on-error": "what happens to a record that cannot be converted: dead-letter, stop, skip",
};

/// Options of all formats.
pub const FORMATS: &[Known] = known! {
    "json.fail-on-missing-field": "whether a missing field is an error",
    "json.ignore-parse-errors": "true means 'on-error' = 'skip'",
    "json.timestamp-format.standard": "SQL or ISO-8601",
    "csv.field-delimiter": "what stands between fields",
    "csv.quote-character": "what quotes a field",
    "csv.disable-quote-character": "whether nothing quotes",
    "csv.escape-character": "what escapes a character",
    "csv.allow-comments": "whether lines that begin with # are left out",
    "csv.ignore-parse-errors": "true means 'on-error' = 'skip'",
    "csv.null-literal": "what stands for NULL",
    "csv.array-element-delimiter": "what stands between elements of an array",
    "csv.header": "whether the first line of a file names the columns; it has to name those of the declaration",
    "csv.ignore-first-line": "whether the first line of a file is left out, whatever it says",
    "raw.charset": "UTF-8",
    "raw.endianness": "big-endian or little-endian",
};

/// Names of other systems for options of `kafka`.
pub const KAFKA_ALIASES: &[(&str, &str)] = &[
    ("bootstrap_servers", "properties.bootstrap.servers"),
    ("bootstrap.servers", "properties.bootstrap.servers"),
    ("properties.bootstrap.server", "properties.bootstrap.servers"),
    ("brokers", "properties.bootstrap.servers"),
    ("topics", "topic"),
    ("topic_pattern", "topic-pattern"),
    ("source.offset", "scan.startup.mode"),
    ("offset", "scan.startup.mode"),
    ("scan.startup.timestamp.millis", "scan.startup.timestamp-millis"),
    ("scan.startup.timestamp_millis", "scan.startup.timestamp-millis"),
    ("source.group_id", "properties.group.id"),
    ("group_id", "properties.group.id"),
    ("group.id", "properties.group.id"),
    ("source.read_mode", "properties.isolation.level"),
];

/// Names of other systems for options of `filesystem`.
pub const FILES_ALIASES: &[(&str, &str)] = &[("source.path", "path")];

/// Names of other systems for options of databases.
pub const DATABASE_ALIASES: &[(&str, &str)] = &[
    ("jdbc.url", "url"),
    ("connection.url", "url"),
    ("jdbc-url", "url"),
    ("table.name", "table-name"),
    ("table_name", "table-name"),
    ("table", "table-name"),
    ("user", "username"),
    ("connection.user", "username"),
    ("connection.password", "password"),
    ("ssl.mode", "sslmode"),
    ("ssl.root.cert", "sslrootcert"),
];

/// Options that Flink (or another system) has and that have no meaning here, with the reason.
const NO_MEANING: &[(&str, &str, &str)] = &[
    ("", "scan.parallelism", "a source runs in as many lanes as SET 'lanes' says"),
    ("", "sink.parallelism", "a target is written by as many lanes as SET 'lanes' says"),
    ("", "scan.watermark.*", "no operator uses event time yet"),
    ("", "type", "a table is a source or a target by where it stands in INSERT"),
    ("", "json.encode.*", "nothing is written as JSON"),
    ("", "json.map-null-key.*", "nothing is written as JSON"),
    ("", "json.decode.json-parser.enabled", "there is one JSON parser"),
    ("", "csv.write-bigdecimal-in-scientific-notation", "nothing is written as CSV"),
    ("kafka", "sink.*", "the table is read, not written"),
    ("filesystem", "sink.*", "the table is read, not written"),
    ("filesystem", "auto-compaction", "the table is read, not written"),
    ("filesystem", "compaction.*", "the table is read, not written"),
    ("filesystem", "partition.*", "folders are no partitions here"),
    ("filesystem", "source.report-statistics", "nothing is planned by statistics"),
    ("filesystem", "source.path.regex-pattern", "write a pattern into 'path'"),
    ("database", "driver", "the drivers are built in; the URL says which one"),
    (
        "database",
        "connection.max-retry-timeout",
        "an unavailable database is tried again for as long as --retry-for says",
    ),
    ("database", "sink.max-retries", "a commit is never sent twice; the ledger says whether it happened"),
    (
        "database",
        "sink.buffer-flush.*",
        "an epoch is written at once; SET 'epoch.rows_max' and 'epoch.interval_max' bound it",
    ),
    ("database", "sink.*", "the rows of an epoch and the positions are one transaction"),
    ("database", "scan.*", "the table is written, not read"),
    ("database", "lookup.*", "the table is written, not looked up"),
    ("database", "max.retry.timeout", "an unavailable database is tried again for as long as --retry-for says"),
    ("print", "print-identifier", "each line begins with its table's name where there are several"),
    ("print", "standard-error", "rows are data and go to stdout"),
];

/// Why an option of Flink has no meaning here; `None` where it is not Flink's either. `connector` as in the text.
pub fn no_meaning(connector: &str, key: &str) -> Option<&'static str> {
    let connector = if matches!(connector, "jdbc" | "postgres" | "sqlite") { "database" } else { connector };
    let key = key.strip_prefix("value.").or_else(|| key.strip_prefix("key.")).unwrap_or(key);
    NO_MEANING
        .iter()
        .find(|(of, name, _)| (of.is_empty() || *of == connector) && fits(name, key))
        .map(|(_, _, why)| *why)
}

/// Formats that Flink has and Onceflow has not.
pub const OTHER_FORMATS: &[&str] = &[
    "avro",
    "avro-confluent",
    "debezium-json",
    "debezium-avro-confluent",
    "debezium-avro",
    "canal-json",
    "maxwell-json",
    "ogg-json",
    "protobuf",
    "parquet",
    "orc",
    "json-registry",
    "upsert-json",
    "bson",
    "thrift",
    "msgpack",
    "ndjson",
];

/// Connectors that others have and Onceflow has not.
pub const OTHER_CONNECTORS: &[&str] = &[
    "upsert-kafka",
    "http",
    "http-sink",
    "mysql",
    "mysql-cdc",
    "postgres-cdc",
    "mongodb",
    "mongodb-cdc",
    "oracle-cdc",
    "sqlserver-cdc",
    "elasticsearch",
    "elasticsearch-6",
    "elasticsearch-7",
    "elasticsearch-8",
    "opensearch",
    "hbase-1.4",
    "hbase-2.2",
    "hive",
    "iceberg",
    "hudi",
    "delta",
    "paimon",
    "fluss",
    "kinesis",
    "firehose",
    "dynamodb",
    "sqs",
    "pulsar",
    "rabbitmq",
    "nats",
    "mqtt",
    "redis",
    "cassandra",
    "clickhouse",
    "doris",
    "starrocks",
    "snowflake",
    "bigquery",
    "redshift",
    "socket",
    "websocket",
    "sse",
    "polling_http",
    "webhook",
    "single_file",
    "stdout",
    "s3",
    "gcs",
    "pubsub",
    "eventhubs",
    "impulse",
    "nexmark",
    "faker",
    "prometheus",
];
