//! The ledger as people's commands see it: their queries with the schema's names, values as text.

use crate::codes;
use crate::error::{Error, Kind, Result};
use crate::home::Answer;
use crate::home::desk::{Cell, Desk, Statement};
use crate::home::postgres::schema;
use crate::home::postgres::session::{Open, Session};
use bytes::BytesMut;
use std::error::Error as StdError;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A desk on a session.
pub(super) struct PgDesk<'a> {
    session: &'a mut Session,
}

impl<'a> PgDesk<'a> {
    pub(super) fn new(session: &'a mut Session) -> Self {
        Self { session }
    }

    async fn query(&mut self, sql: &str, parameters: &[Cell]) -> Result<Vec<Vec<Cell>>> {
        let sql = ledger_names(sql);
        let client = &self.session.client;
        let answer = match parameters {
            // One message, and no prepared statement: it means the same through any pooler.
            [] => client.query_typed(&sql, &[]).await,
            _ => client.query(&sql, &refs(parameters)).await,
        };
        let rows = answer.map_err(|error| self.session.explain(error, "read the ledger"))?;
        rows.iter().map(cells).collect()
    }

    async fn run(&mut self, statements: &[Statement]) -> Result<Vec<u64>> {
        let open = self.session.open_transaction();
        match run_in(&open, statements).await {
            Ok(counts) => {
                open.finish();
                Ok(counts)
            }
            Err(error) => {
                open.rollback().await;
                Err(error)
            }
        }
    }
}

async fn run_in(open: &Open<'_>, statements: &[Statement]) -> Result<Vec<u64>> {
    let fail = |error| open.session.explain(error, "change the ledger");
    open.session.client.batch_execute(open.session.begin()).await.map_err(fail)?;
    let mut counts = Vec::with_capacity(statements.len());
    for (index, statement) in statements.iter().enumerate() {
        let sql = ledger_names(&statement.sql);
        let count = open.session.client.execute(&sql, &refs(&statement.parameters)).await.map_err(fail)?;
        if statement.expect_rows.is_some_and(|expected| expected != count) {
            let expected = statement.expect_rows.unwrap_or_default();
            let message = format!("statement {index} touched {count} rows of the ledger instead of {expected}");
            return Err(Error::new(Kind::Data, codes::OF0911, message)
                .note("everything was rolled back")
                .help("somebody changed the ledger meanwhile: look again, then repeat the command"));
        }
        counts.push(count);
    }
    open.session.client.batch_execute("COMMIT").await.map_err(fail)?;
    Ok(counts)
}

impl Desk for PgDesk<'_> {
    fn exists(&mut self) -> Answer<'_, Result<bool>> {
        Box::pin(async move { Ok(schema::look(&self.session.client).await?.exists()) })
    }

    fn rows<'a>(&'a mut self, sql: &'a str, parameters: &'a [Cell]) -> Answer<'a, Result<Vec<Vec<Cell>>>> {
        Box::pin(self.query(sql, parameters))
    }

    fn execute<'a>(&'a mut self, statements: &'a [Statement]) -> Answer<'a, Result<Vec<u64>>> {
        Box::pin(self.run(statements))
    }
}

/// `{shard}` becomes `onceflow.shard`. Braces around anything else stay: they may be JSON.
fn ledger_names(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.split_once('}') {
            Some((name, after)) if !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_') => {
                out.push_str("onceflow.");
                out.push_str(name);
                rest = after;
            }
            _ => out.push('{'),
        }
    }
    out.push_str(rest);
    out
}

fn refs(cells: &[Cell]) -> Vec<&(dyn ToSql + Sync)> {
    cells.iter().map(|cell| -> &(dyn ToSql + Sync) { cell }).collect()
}

/// A cell goes to the server as text, whatever type the statement gives its parameter.
impl ToSql for Cell {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Cell::Null => return Ok(IsNull::Yes),
            Cell::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Text(text) => out.extend_from_slice(text.as_bytes()),
            Cell::Bytes(bytes) => {
                out.extend_from_slice(b"\\x");
                bytes.iter().for_each(|byte| out.extend_from_slice(format!("{byte:02x}").as_bytes()));
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn cells(row: &tokio_postgres::Row) -> Result<Vec<Cell>> {
    (0..row.len()).map(|index| cell(row, index)).collect()
}

fn cell(row: &tokio_postgres::Row, index: usize) -> Result<Cell> {
    let read: Result<Read, _> = row.try_get(index);
    let column = &row.columns()[index];
    read.map(|read| read.0).map_err(|error| {
        let message = format!("the ledger's column {} of type {} cannot be shown", column.name(), column.type_());
        Error::internal(message).caused_by(error)
    })
}

struct Read(Cell);

impl<'a> FromSql<'a> for Read {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(match *ty {
            Type::INT2 => Cell::Int(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Cell::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Cell::Int(i64::from_sql(ty, raw)?),
            Type::OID => Cell::Int(u32::from_sql(ty, raw)?.into()),
            Type::BOOL => Cell::Int(bool::from_sql(ty, raw)?.into()),
            Type::BYTEA => Cell::Bytes(raw.to_vec()),
            Type::TIMESTAMPTZ => Cell::Text(timestamp(raw)?),
            Type::UUID => Cell::Text(uuid::Uuid::from_slice(raw)?.to_string()),
            Type::NUMERIC => number(raw)?,
            Type::FLOAT8 => Cell::Text(f64::from_sql(ty, raw)?.to_string()),
            // jsonb comes with the number of its format in front.
            Type::JSONB => Cell::Text(String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?),
            _ => Cell::Text(String::from_utf8(raw.to_vec())?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(Cell::Null))
    }

    fn accepts(ty: &Type) -> bool {
        let text = [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN, Type::JSON, Type::JSONB];
        let others = [
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::BOOL,
            Type::BYTEA,
            Type::TIMESTAMPTZ,
            Type::UUID,
            Type::NUMERIC,
            Type::FLOAT8,
        ];
        text.contains(ty) || others.contains(ty)
    }
}

/// Microseconds between 1970 and 2000, where PostgreSQL begins to count.
const SINCE_1970: i64 = 946_684_800_000_000;

fn timestamp(raw: &[u8]) -> Result<String, Box<dyn StdError + Sync + Send>> {
    let since_2000 = i64::from_be_bytes(raw.try_into()?);
    match since_2000 {
        i64::MAX => Ok("infinity".to_owned()),
        i64::MIN => Ok("-infinity".to_owned()),
        _ => {
            let time = since_2000.checked_add(SINCE_1970).and_then(chrono::DateTime::from_timestamp_micros);
            let time = time.ok_or("a timestamp beyond the calendar")?;
            Ok(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
        }
    }
}

/// A whole `numeric` (a sum of bigints) as a number where it fits, else as text.
fn number(raw: &[u8]) -> Result<Cell, Box<dyn StdError + Sync + Send>> {
    let words: Vec<i16> = raw.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
    let [_, weight, sign, scale, digits @ ..] = words.as_slice() else { return Err("a broken numeric".into()) };
    if *scale != 0 || !matches!(*sign, 0 | 0x4000) {
        return Err("a numeric with a fraction; cast it to text".into());
    }
    let mut value = 0_i128;
    for place in 0..=i32::from(*weight) {
        let digit = usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
        let next = value.checked_mul(10_000).and_then(|value| value.checked_add(i128::from(digit)));
        value = next.ok_or("a numeric too long; cast it to text")?;
    }
    let value = if *sign == 0x4000 { -value } else { value };
    Ok(i64::try_from(value).map_or_else(|_| Cell::Text(value.to_string()), Cell::Int))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_become_the_schemas() {
        for (written, sent) in [
            (
                "SELECT * FROM {shard} s JOIN {dead_letter} d",
                "SELECT * FROM onceflow.shard s JOIN onceflow.dead_letter d",
            ),
            ("SELECT '{\"a\": 1}'::jsonb, '{}'", "SELECT '{\"a\": 1}'::jsonb, '{}'"),
            ("no names {", "no names {"),
        ] {
            assert_eq!(ledger_names(written), sent);
        }
    }

    #[test]
    fn sums_come_back_as_numbers() {
        // ndigits, weight, sign, scale, digits: 123456789 is 1 2345 6789 in base 10000.
        let raw = |words: &[i16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        for (words, read) in [
            (&[3, 2, 0, 0, 1, 2345, 6789][..], Cell::Int(123_456_789)),
            (&[1, 1, 0, 0, 5][..], Cell::Int(50_000)),
            (&[1, 0, 0x4000, 0, 7][..], Cell::Int(-7)),
            (&[0, 0, 0, 0][..], Cell::Int(0)),
        ] {
            assert_eq!(number(&raw(words)).expect("it is whole"), read);
        }
        assert!(number(&raw(&[1, 0, 0, 2, 7])).is_err());
    }
}
