//! The columns of a target table, as the database has them.

use super::Target;
use crate::tx::quoted_table;
use arrow_schema::{DataType, TimeUnit};
use onceflow_engine as engine;
use onceflow_engine::changes::{ColumnSpec, TableSpec};
use onceflow_engine::codes;
use onceflow_engine::home::HomeFactory;
use onceflow_engine::home::desk::{Cell, Desk};
use std::sync::Arc;

/// A column as the database has it.
struct Found {
    name: String,
    /// The type in the database's words.
    words: String,
    data_type: Option<DataType>,
    nullable: bool,
    /// The database gives it a value where none comes.
    default: bool,
    /// It takes no value.
    generated: bool,
    /// Its place in the primary key, from 1.
    key: i64,
}

/// Looks the table up.
pub(crate) async fn resolve(target: &Target, home: &Arc<dyn HomeFactory>) -> engine::Result<TableSpec> {
    let mut session = home.open(Arc::default())?;
    let mut desk = session.desk().await?;
    let found = match home.system() {
        "PostgreSQL" => postgres(&mut *desk, &target.table.name).await?,
        "SQLite" => sqlite(&mut *desk, &target.table.name).await?,
        other => {
            let error = engine::Error::config(codes::OF1006, format!("{other} has no tables to write into"));
            return Err(error.at(&target.place).help("write into PostgreSQL or SQLite"));
        }
    };
    if found.is_empty() {
        let message = format!("there is no table '{}' in {}", target.table.name, home.describe());
        return Err(engine::Error::config(codes::OF1013, message)
            .at(&target.place)
            .note("its types and keys are the table's, so it has to be there before the pipeline")
            .help(format!("CREATE TABLE {} (…)", target.table.name)));
    }
    let written = chosen(target, &found)?;
    let mut key: Vec<(i64, usize)> = written
        .iter()
        .enumerate()
        .filter(|(_, column)| column.key > 0)
        .map(|(index, column)| (column.key, index))
        .collect();
    key.sort_unstable();
    let keys = found.iter().filter(|column| column.key > 0).count();
    if !matches!(target.mode, super::Mode::Append) && (keys == 0 || key.len() < keys) {
        let message = format!("'{}' has no primary key whose columns are all written", target.table.name);
        return Err(engine::Error::config(codes::OF1013, message)
            .at(&target.place)
            .note("a row replaces, or is merged with, the one that has its key")
            .help(format!("ALTER TABLE {} ADD PRIMARY KEY (…), or append_into", target.table.name)));
    }
    let columns = written.into_iter().map(|column| spec(target, column)).collect::<engine::Result<_>>()?;
    target.spec(columns, key.into_iter().map(|(_, index)| index).collect())
}

/// The columns that are written: the named ones, else all that have no default, and those of the key.
fn chosen<'f>(target: &Target, found: &'f [Found]) -> engine::Result<Vec<&'f Found>> {
    let Some(names) = &target.table.columns else {
        return Ok(found.iter().filter(|column| !column.generated && !column.default).collect());
    };
    let column = |name: &String| {
        found.iter().find(|column| column.name == *name).ok_or_else(|| {
            let known = found.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
            engine::Error::config(codes::OF1013, format!("'{}' has no column '{name}'", target.table.name))
                .at(&target.place)
                .note(format!("it has: {known}"))
        })
    };
    names.iter().map(column).collect()
}

fn spec(target: &Target, column: &Found) -> engine::Result<ColumnSpec> {
    let Some(data_type) = column.data_type.clone() else {
        let message = format!(
            "column '{}' of '{}' is {}, which no value is made for",
            column.name, target.table.name, column.words
        );
        return Err(engine::Error::config(codes::OF1013, message)
            .at(&target.place)
            .help("name the other columns (Table::named(..).columns(..)), or write it in a handler with tx.execute"));
    };
    Ok(ColumnSpec {
        name: column.name.clone(),
        declared: declared(&data_type),
        data_type,
        nullable: column.nullable,
        place: target.place.clone(),
    })
}

/// The type's name in the language of pipelines.
fn declared(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Binary => "BYTES".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Time64(_) => "TIME(6)".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP(6)".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP_LTZ(6)".to_owned(),
        _ => "STRING".to_owned(),
    }
}

async fn postgres(desk: &mut dyn Desk, table: &str) -> engine::Result<Vec<Found>> {
    // A domain is what it is made of.
    let sql = "SELECT a.attname::text, format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, \
               CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END), \
               (a.attnotnull)::int, (a.atthasdef OR a.attidentity <> '')::int, (a.attgenerated <> '' OR a.attidentity = 'a')::int, \
               coalesce(array_position(i.indkey::int2[], a.attnum), -1) + 1, (t.typcategory = 'A')::int \
               FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
               LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
               WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let rows = desk.rows(sql, &[Cell::Text(quoted_table(table))]).await?;
    Ok(rows.into_iter().filter_map(|row| found(row, of_postgres)).collect())
}

/// A column out of its row: name, type, not null, default, generated, place in the key, whether it is an array.
fn found(row: Vec<Cell>, of: impl Fn(&str) -> Option<DataType>) -> Option<Found> {
    let [name, words, not_null, default, generated, key, array] = <[Cell; 7]>::try_from(row).ok()?;
    let (name, words) = (text(name)?, text(words)?);
    Some(Found {
        data_type: (number(array)? == 0).then(|| of(&words)).flatten(),
        nullable: number(not_null)? == 0,
        default: number(default)? == 1,
        generated: number(generated)? == 1,
        key: number(key)?,
        name,
        words,
    })
}

/// What stands in no list travels as text, and the server casts it: `uuid`, `jsonb`, `inet`, enums.
fn of_postgres(words: &str) -> Option<DataType> {
    let (name, arguments) = match words.split_once('(') {
        // `timestamp(3) with time zone`
        Some((name, rest)) => {
            let (arguments, after) = rest.split_once(')')?;
            (format!("{name}{after}"), Some(arguments))
        }
        None => (words.to_owned(), None),
    };
    Some(match name.as_str() {
        "smallint" => DataType::Int16,
        "integer" => DataType::Int32,
        "bigint" => DataType::Int64,
        "real" => DataType::Float32,
        "double precision" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "time without time zone" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp without time zone" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamp with time zone" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "numeric" => decimal(arguments.unwrap_or("38, 12"))?,
        "oid" | "money" | "xid" => return None,
        _ => DataType::Utf8,
    })
}

/// `12, 2`
fn decimal(arguments: &str) -> Option<DataType> {
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    (1..=38).contains(&precision).then_some(DataType::Decimal128(precision, scale))
}

async fn sqlite(desk: &mut dyn Desk, table: &str) -> engine::Result<Vec<Found>> {
    let sql = "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, hidden > 0, pk, 0 FROM pragma_table_xinfo($1) ORDER BY cid";
    let rows = desk.rows(sql, &[Cell::Text(table.to_owned())]).await?;
    Ok(rows.into_iter().filter_map(|row| found(row, of_sqlite)).collect())
}

/// By SQLite's own rules of affinity, in their order, with the words in between that say more (<https://sqlite.org/datatype3.html>, §3.1).
fn of_sqlite(words: &str) -> Option<DataType> {
    let upper = words.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| upper.contains(part));
    Some(match () {
        () if has(&["INT"]) => DataType::Int64,
        () if has(&["CHAR", "CLOB", "TEXT"]) => DataType::Utf8,
        () if has(&["BLOB"]) => DataType::Binary,
        () if has(&["REAL", "FLOA", "DOUB"]) => DataType::Float64,
        () if has(&["BOOL"]) => DataType::Boolean,
        () if has(&["TIMESTAMP", "DATETIME"]) => DataType::Timestamp(TimeUnit::Microsecond, None),
        () if has(&["DATE"]) => DataType::Date32,
        () if has(&["DEC", "NUMERIC"]) => match upper.split_once('(').and_then(|(_, rest)| rest.split_once(')')) {
            Some((arguments, _)) => decimal(arguments)?,
            None => DataType::Float64,
        },
        () => return None,
    })
}

fn text(cell: Cell) -> Option<String> {
    if let Cell::Text(text) = cell { Some(text) } else { None }
}

fn number(cell: Cell) -> Option<i64> {
    if let Cell::Int(number) = cell { Some(number) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_both_databases() {
        let micros = TimeUnit::Microsecond;
        let postgres = [
            ("bigint", Some(DataType::Int64)),
            ("timestamp(3) with time zone", Some(DataType::Timestamp(micros, Some("UTC".into())))),
            ("timestamp without time zone", Some(DataType::Timestamp(micros, None))),
            ("numeric(12,2)", Some(DataType::Decimal128(12, 2))),
            ("numeric(50,2)", None),
            ("character varying(20)", Some(DataType::Utf8)),
            ("app.mood", Some(DataType::Utf8)),
        ];
        for (words, expected) in postgres {
            assert_eq!(of_postgres(words), expected, "{words}");
        }
        let sqlite = [
            ("INTEGER", Some(DataType::Int64)),
            ("VARCHAR(20)", Some(DataType::Utf8)),
            ("DECIMAL(12, 2)", Some(DataType::Decimal128(12, 2))),
            ("numeric", Some(DataType::Float64)),
            ("DATETIME", Some(DataType::Timestamp(micros, None))),
            ("", None),
        ];
        for (words, expected) in sqlite {
            assert_eq!(of_sqlite(words), expected, "{words}");
        }
    }
}
