//! A table that something else writes, and the log that it is made from, as `audit` and `doctor` are told of them.

use clap::{Args as ClapArgs, ValueEnum};
use onceflow::pipeline::Pipeline;
use onceflow::{Error, codes};
use onceflow_sql::CompileOptions;
use std::collections::BTreeMap;

/// What is compared.
#[derive(ClapArgs, Debug, Default)]
pub struct Foreign {
    /// Compare a table that something else writes: its topic
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["file", "files"], requires_all = ["brokers", "home", "table", "map"], env = "ONCEFLOW_AUDIT_TOPIC")]
    pub topic: Option<String>,
    /// The topic's brokers
    #[arg(long, value_name = "HOST:PORT", requires = "topic", env = "ONCEFLOW_AUDIT_BROKERS")]
    pub brokers: Option<String>,
    /// Compare a table that something else writes: its files, such as 'log/*.jsonl'
    #[arg(long, value_name = "GLOB", conflicts_with = "file", requires_all = ["home", "table", "map"], env = "ONCEFLOW_AUDIT_FILES")]
    pub files: Option<String>,
    /// The database with the table
    #[arg(long, value_name = "URL", requires = "table", env = "ONCEFLOW_HOME")]
    pub home: Option<String>,
    /// The table, with its schema where it needs one
    #[arg(long, value_name = "TABLE", requires = "map", env = "ONCEFLOW_AUDIT_TABLE")]
    pub table: Option<String>,
    /// For each column the field of the record: 'id=id, amount=amount'; the first column is the key
    #[arg(long, value_name = "COLUMN=FIELD,…", requires = "table", env = "ONCEFLOW_AUDIT_MAP")]
    pub map: Option<String>,
    /// How records are written
    #[arg(long, value_enum, default_value_t = InputFormat::Json, env = "ONCEFLOW_AUDIT_INPUT_FORMAT")]
    pub input_format: InputFormat,
    /// The names of all columns of CSV records, in their order: 'id,account,amount'
    #[arg(long, value_name = "FIELD,…", requires = "table", env = "ONCEFLOW_AUDIT_FIELDS")]
    pub fields: Option<String>,
    /// The table holds the last row of each key, not every row
    #[arg(long, requires = "table", env = "ONCEFLOW_AUDIT_UPSERT")]
    pub upsert: bool,
    /// Compare partitions up to these offsets only: '0=1200,1=990' (default: all that the log holds)
    #[arg(long, value_name = "N=OFFSET,…", requires = "topic", env = "ONCEFLOW_AUDIT_UNTIL_OFFSETS")]
    pub until_offsets: Option<String>,
    /// Compare records that are older than this only, by the timestamps of the topic: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", requires = "topic", env = "ONCEFLOW_AUDIT_UNTIL_TIME")]
    pub until_time: Option<String>,
    /// Properties of the Kafka client, such as security.protocol=SSL; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "topic", env = "ONCEFLOW_AUDIT_PROPERTY")]
    pub property: Vec<String>,
}

/// How records are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum InputFormat {
    /// One JSON object each
    #[default]
    Json,
    /// Comma-separated values, without a line of names
    Csv,
    /// The value as it is, in a field called `value`
    Raw,
}

/// The text that the pipeline is made of, for messages.
pub const TEXT: &str = "the arguments";

fn unclear(message: String) -> Error {
    Error::config(codes::OF0124, message).help(
        "onceflow audit --topic transactions --brokers localhost:9092 --home postgresql://… --table payments \
         --map 'id=id, amount=amount'",
    )
}

impl Foreign {
    /// The pipeline that would write this table, and its text.
    pub fn pipeline(&self) -> Result<Pipeline, crate::render::Failures> {
        let text = self.text()?;
        let compiled = onceflow_sql::compile(TEXT, &text, &|_| None, &CompileOptions::default());
        compiled.map_err(|errors| crate::render::Failures::from(errors).with_text(TEXT, &text))
    }

    /// How the comparison is bounded.
    pub fn bounds(&self) -> Result<onceflow::audit::foreign::Foreign, Error> {
        let until = self.until_offsets.as_deref().map(offsets).transpose()?.unwrap_or_default();
        Ok(onceflow::audit::foreign::Foreign { upsert: self.upsert, until })
    }

    /// The arguments without secrets, for reports.
    pub fn shown(&self) -> String {
        let log = match (&self.topic, &self.files) {
            (Some(topic), _) => format!("--topic {topic}"),
            (_, Some(files)) => format!("--files '{files}'"),
            _ => String::new(),
        };
        format!("{log} --table {}", self.table.as_deref().unwrap_or_default())
    }

    /// The table's name as it was given.
    pub fn table_name(&self) -> &str {
        self.table.as_deref().unwrap_or_default()
    }

    /// The pipeline as text: every field a STRING, since the database's types decide the comparison.
    fn text(&self) -> Result<String, Error> {
        let given = |value: &Option<String>, flag: &str| {
            value.clone().ok_or_else(|| unclear(format!("--topic and --files need {flag} as well")))
        };
        let (home, table) = (given(&self.home, "--home")?, given(&self.table, "--table")?);
        let map = map(&given(&self.map, "--map")?)?;
        let fields = self.fields_of(&map)?;
        let declare =
            |names: &[&str]| names.iter().map(|name| format!("{} STRING", quoted(name))).collect::<Vec<_>>().join(", ");
        let columns: Vec<&str> = map.iter().map(|(column, _)| column.as_str()).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let key = match self.upsert {
            true => format!(", PRIMARY KEY ({}) NOT ENFORCED", quoted(columns[0])),
            false => String::new(),
        };
        let selected: Vec<String> = map.iter().map(|(_, field)| quoted(field)).collect();
        Ok(format!(
            "SET 'pipeline.name' = '{}';
CREATE TABLE records ({}) WITH ({});
CREATE TABLE target ({}{key}) WITH ('connector' = 'jdbc', 'url' = '{}', 'table-name' = '{}');
INSERT INTO target SELECT {} FROM records;
",
            text_of(&table),
            declare(&fields),
            self.source()?,
            declare(&columns),
            text_of(&home),
            text_of(&table),
            selected.join(", ")
        ))
    }

    /// The fields that a record has.
    fn fields_of(&self, map: &[(String, String)]) -> Result<Vec<String>, Error> {
        let named = |text: &String| text.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
        let mut used: Vec<String> = map.iter().map(|(_, field)| field.clone()).collect();
        used.sort_unstable();
        used.dedup();
        match (self.input_format, &self.fields) {
            (InputFormat::Csv, None) => {
                Err(unclear("CSV has no names: --fields has to give them, in their order".to_owned()))
            }
            (InputFormat::Csv, Some(fields)) => {
                let fields = named(fields);
                match used.iter().find(|field| !fields.contains(field)) {
                    None => Ok(fields),
                    Some(field) => Err(unclear(format!("--map names the field '{field}', which --fields does not"))),
                }
            }
            (_, Some(_)) => Err(unclear("--fields is for --input-format csv".to_owned())),
            (InputFormat::Raw, None) if used != ["value"] => {
                Err(unclear("a raw record has one field, 'value': --map 'column=value'".to_owned()))
            }
            (InputFormat::Json | InputFormat::Raw, None) => Ok(used),
        }
    }

    /// The options of the source.
    fn source(&self) -> Result<String, Error> {
        let format = match self.input_format {
            InputFormat::Json => "json",
            InputFormat::Csv => "csv",
            InputFormat::Raw => "raw",
        };
        if let Some(files) = &self.files {
            return Ok(format!("'connector' = 'filesystem', 'path' = '{}', 'format' = '{format}'", text_of(files)));
        }
        let topic = self.topic.as_deref().ok_or_else(|| unclear("--topic or --files is missing".to_owned()))?;
        let brokers = self.brokers.as_deref().ok_or_else(|| unclear("--topic needs --brokers as well".to_owned()))?;
        let mut options = format!(
            "'connector' = 'kafka', 'topic' = '{}', 'properties.bootstrap.servers' = '{}', \
             'scan.startup.mode' = 'earliest-offset', 'format' = '{format}'",
            text_of(topic),
            text_of(brokers)
        );
        if let Some(time) = &self.until_time {
            let at = onceflow::audit::evidence::microseconds(time).map(|micros| micros.div_euclid(1_000));
            let at =
                at.ok_or_else(|| unclear(format!("--until-time '{time}' is no time, such as 2026-01-31T12:00:00Z")))?;
            options += &format!(", 'scan.bounded.mode' = 'timestamp', 'scan.bounded.timestamp-millis' = '{at}'");
        }
        for property in &self.property {
            let (name, value) = property
                .split_once('=')
                .ok_or_else(|| unclear(format!("--property '{property}' is not NAME=VALUE")))?;
            options += &format!(", 'properties.{}' = '{}'", text_of(name), text_of(value));
        }
        Ok(options)
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text_of(value: &str) -> String {
    value.replace('\'', "''")
}

/// `column=field, column=field`; a name alone is both.
fn map(text: &str) -> Result<Vec<(String, String)>, Error> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (column, field) = pair.split_once('=').unwrap_or((pair, pair));
            (column.trim().to_owned(), field.trim().to_owned())
        })
        .collect();
    if pairs.is_empty() || pairs.iter().any(|(column, field)| column.is_empty() || field.is_empty()) {
        return Err(unclear(format!("--map '{text}' does not name columns and fields")));
    }
    Ok(pairs)
}

fn offsets(text: &str) -> Result<BTreeMap<u32, u64>, Error> {
    let pair = |pair: &str| {
        let (number, offset) = pair.split_once('=')?;
        Some((number.trim().parse().ok()?, offset.trim().parse().ok()?))
    };
    let all: Option<BTreeMap<u32, u64>> = text.split(',').map(pair).collect();
    all.ok_or_else(|| unclear(format!("--until-offsets '{text}' is not '0=1200,1=990'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Foreign {
        let text = |text: &str| Some(text.to_owned());
        let (topic, brokers, home) = (text("t'x"), text("127.0.0.1:9"), text("sqlite:x.db"));
        Foreign { topic, brokers, home, table: text("p"), map: text("id=n, v"), ..Foreign::default() }
    }

    #[test]
    fn arguments_become_a_pipeline_and_quotes_stay_inside() {
        let text = given().text().expect("it is clear");
        assert!(text.contains("'topic' = 't''x'") && text.contains("(`n` STRING, `v` STRING)"), "{text}");
        let timed = Foreign { until_time: Some("1970-01-01T00:00:01Z".to_owned()), ..given() };
        let text = timed.text().expect("it is clear");
        assert!(text.contains("'scan.bounded.timestamp-millis' = '1000'"), "{text}");
        let files = Foreign { topic: None, files: Some("a/*.csv".to_owned()), ..given() };
        let files = Foreign { input_format: InputFormat::Csv, fields: Some("x, n, v".to_owned()), ..files };
        let text = files.text().expect("it is clear");
        assert!(text.contains("(`x` STRING, `n` STRING, `v` STRING)") && text.contains("'format' = 'csv'"), "{text}");
    }

    #[test]
    fn what_is_not_clear_is_said() {
        let text = |text: &str| Some(text.to_owned());
        for wrong in [
            Foreign { map: text("id="), ..given() },
            Foreign { table: None, ..given() },
            Foreign { brokers: None, ..given() },
            Foreign { property: vec!["x".to_owned()], ..given() },
            Foreign { until_time: text("yesterday"), ..given() },
            Foreign { input_format: InputFormat::Csv, ..given() },
            Foreign { input_format: InputFormat::Csv, fields: text("n"), ..given() },
            Foreign { input_format: InputFormat::Raw, ..given() },
            Foreign { fields: text("n,v"), ..given() },
        ] {
            assert_eq!(wrong.text().expect_err("it is not clear").code(), codes::OF0124, "{wrong:?}");
        }
        assert!(offsets("0=1,x").is_err());
    }
}
