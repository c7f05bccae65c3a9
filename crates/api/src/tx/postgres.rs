//! Statements in PostgreSQL.

use super::{Error, Result, Row};
use crate::value::{Param, Value};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::FuturesOrdered;
use futures_util::{SinkExt as _, StreamExt as _, pin_mut};
use onceflow_engine::home::postgres::explain;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};
use tokio_postgres::{Client, Statement};

/// So many statements are on their way at a time.
const IN_FLIGHT_MAX: usize = 256;
/// A piece of a COPY has about so many bytes.
const COPY_BYTES: usize = 64 << 10;

/// A prepared statement of this session: a new session has none.
pub(super) async fn prepare(
    client: &Client,
    session: u64,
    known: &RefCell<(u64, HashMap<String, Statement>)>,
    sql: &str,
) -> Result<Statement> {
    {
        let mut known = known.borrow_mut();
        if known.0 != session {
            *known = (session, HashMap::new());
        }
        if let Some(statement) = known.1.get(sql) {
            return Ok(statement.clone());
        }
    }
    let statement = client.prepare(sql).await.map_err(|error| failed(error, "prepare", sql))?;
    known.borrow_mut().1.insert(sql.to_owned(), statement.clone());
    Ok(statement)
}

pub(super) async fn execute(client: &Client, statement: &Statement, params: &[Param<'_>]) -> Result<u64> {
    check(statement, params.len())?;
    client
        .execute_raw(statement, params.iter().map(dynamic))
        .await
        .map_err(|error| explain(error, "execute a statement").into())
}

fn dynamic<'a>(param: &'a Param<'_>) -> &'a (dyn ToSql + Sync) {
    param
}

/// The driver panics where the number of parameters is another one.
fn check(statement: &Statement, given: usize) -> Result {
    let wanted = statement.params().len();
    if given == wanted {
        Ok(())
    } else {
        Err(Error::stop(format!("{given} parameters for a statement that has {wanted}")))
    }
}

pub(super) async fn execute_all<'p>(
    client: &Client,
    statement: &Statement,
    rows: impl Iterator<Item = Vec<Param<'p>>>,
    pass: impl Fn() -> Result,
) -> Result<u64> {
    let mut touched = 0;
    let mut flying = FuturesOrdered::new();
    for row in rows {
        pass()?;
        if flying.len() >= IN_FLIGHT_MAX
            && let Some(done) = flying.next().await
        {
            touched += done?;
        }
        flying.push_back(async move { execute(client, statement, &row).await });
    }
    while let Some(done) = flying.next().await {
        touched += done?;
    }
    Ok(touched)
}

pub(super) async fn query(client: &Client, statement: &Statement, params: &[Param<'_>]) -> Result<Vec<Row>> {
    check(statement, params.len())?;
    let failed = |error| Error::from(explain(error, "run a query"));
    let stream = client.query_raw(statement, params.iter().map(dynamic)).await.map_err(failed)?;
    pin_mut!(stream);
    let names: Arc<Vec<String>> = Arc::new(statement.columns().iter().map(|column| column.name().to_owned()).collect());
    let mut found = Vec::new();
    while let Some(row) = stream.next().await {
        let row = row.map_err(failed)?;
        let value =
            |index| row.try_get::<_, Option<Value>>(index).map(|value| value.unwrap_or(Value::Null)).map_err(failed);
        found.push(Row::new(names.clone(), (0..names.len()).map(value).collect::<Result<_>>()?));
    }
    Ok(found)
}

pub(super) async fn copy_in<'p>(
    client: &Client,
    sql: &str,
    columns: usize,
    rows: impl Iterator<Item = Vec<Param<'p>>>,
) -> Result<u64> {
    let sink = client.copy_in::<_, Bytes>(sql).await.map_err(|error| failed(error, "begin", sql))?;
    pin_mut!(sink);
    let mut piece = BytesMut::with_capacity(COPY_BYTES * 2);
    for row in rows {
        if row.len() != columns {
            return Err(Error::stop(format!("a row of {} values for {columns} columns: {sql}", row.len())));
        }
        copy_row(&row, &mut piece);
        if piece.len() >= COPY_BYTES {
            sink.send(piece.split().freeze()).await.map_err(|error| failed(error, "go on with", sql))?;
        }
    }
    sink.send(piece.freeze()).await.map_err(|error| failed(error, "go on with", sql))?;
    sink.finish().await.map_err(|error| failed(error, "finish", sql))
}

/// COPY's text format: tabs between, `\N` for NULL, four characters escaped.
fn copy_row(row: &[Param<'_>], out: &mut BytesMut) {
    for (index, param) in row.iter().enumerate() {
        if index > 0 {
            out.put_u8(b'\t');
        }
        match param {
            Param::Null => out.put_slice(b"\\N"),
            Param::Text(text) => escape(text.as_bytes(), out),
            // The backslash of `\x` is escaped, too.
            Param::Bytes(bytes) => {
                out.put_u8(b'\\');
                notation(&Param::Bytes(bytes.as_ref().into()), out);
            }
            other => notation(other, out),
        }
    }
    out.put_u8(b'\n');
}

fn escape(text: &[u8], out: &mut BytesMut) {
    for byte in text {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\t' => out.put_slice(b"\\t"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            byte => out.put_u8(*byte),
        }
    }
}

/// The notation that every type's own input function reads.
fn notation(param: &Param<'_>, out: &mut BytesMut) {
    match param {
        Param::Null => {}
        Param::Bool(value) => out.put_u8(if *value { b't' } else { b'f' }),
        Param::Int(value) => out.put_slice(value.to_string().as_bytes()),
        Param::Float(value) => out.put_slice(value.to_string().as_bytes()),
        Param::Text(value) => out.put_slice(value.as_bytes()),
        Param::Bytes(value) => {
            out.put_slice(b"\\x");
            value.iter().for_each(|byte| out.put_slice(format!("{byte:02x}").as_bytes()));
        }
    }
}

impl Param<'_> {
    /// Whether the value has the type's binary form as it is; everything else goes as its notation, which the server reads.
    fn is_binary(&self, ty: &Type) -> bool {
        match self {
            Self::Bool(_) => *ty == Type::BOOL,
            Self::Int(value) => match *ty {
                Type::INT8 => true,
                Type::INT4 => i32::try_from(*value).is_ok(),
                Type::INT2 => i16::try_from(*value).is_ok(),
                _ => false,
            },
            Self::Float(_) => *ty == Type::FLOAT8,
            Self::Bytes(_) => *ty == Type::BYTEA,
            Self::Null | Self::Text(_) => false,
        }
    }
}

type Failure = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        if matches!(self, Self::Null) {
            return Ok(IsNull::Yes);
        }
        match (self, self.is_binary(ty)) {
            (Self::Bool(value), true) => out.put_u8(u8::from(*value)),
            (Self::Int(value), true) if *ty == Type::INT8 => out.put_i64(*value),
            (Self::Int(value), true) if *ty == Type::INT4 => out.put_i32(i32::try_from(*value)?),
            (Self::Int(value), true) => out.put_i16(i16::try_from(*value)?),
            (Self::Float(value), true) => out.put_f64(*value),
            (Self::Bytes(value), true) => out.put_slice(value),
            _ => notation(self, out),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if self.is_binary(ty) { Format::Binary } else { Format::Text }
    }
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        if let Kind::Domain(inner) = ty.kind() {
            return Self::from_sql(inner, raw);
        }
        if matches!(ty.kind(), Kind::Enum(_)) {
            return Ok(Self::Text(String::from_utf8(raw.to_vec())?));
        }
        Ok(match *ty {
            Type::BOOL => Self::Bool(bool::from_sql(ty, raw)?),
            Type::INT2 => Self::Int(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::OID => Self::Int(u32::from_sql(ty, raw)?.into()),
            Type::FLOAT4 => Self::Float(f32::from_sql(ty, raw)?.to_string().parse()?),
            Type::FLOAT8 => Self::Float(f64::from_sql(ty, raw)?),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON | Type::XML => {
                Self::Text(String::from_utf8(raw.to_vec())?)
            }
            Type::JSONB => Self::Text(String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?),
            Type::NUMERIC => Self::Text(numeric(raw)?),
            Type::UUID => Self::Text(uuid(raw)?),
            Type::TIMESTAMPTZ => Self::Text(moment(i64::from_be_bytes(raw.try_into()?), "%Y-%m-%dT%H:%M:%S%.6fZ")?),
            Type::TIMESTAMP => Self::Text(moment(i64::from_be_bytes(raw.try_into()?), "%Y-%m-%dT%H:%M:%S%.6f")?),
            Type::DATE => {
                let days = i64::from(i32::from_be_bytes(raw.try_into()?));
                Self::Text(moment(days.checked_mul(86_400_000_000).ok_or("infinity")?, "%Y-%m-%d")?)
            }
            _ => {
                return Err(
                    format!("a value of type {ty}: write column::text in the query, or use tx.postgres()").into()
                );
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Microseconds since 2000-01-01, as text.
fn moment(micros: i64, format: &str) -> Result<String, Failure> {
    const SINCE_1970: i64 = 946_684_800_000_000;
    let moment = micros.checked_add(SINCE_1970).and_then(chrono::DateTime::from_timestamp_micros);
    Ok(moment.ok_or("a moment outside the calendar (infinity)")?.format(format).to_string())
}

fn uuid(raw: &[u8]) -> Result<String, Failure> {
    let number = u128::from_be_bytes(raw.try_into()?);
    let hex = format!("{number:032x}");
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// PostgreSQL's numeric: groups of four digits, the weight of the first, a sign, and digits to show after the point.
fn numeric(raw: &[u8]) -> Result<String, Failure> {
    let short = |index: usize| -> Result<i16, Failure> {
        let bytes = raw.get(index * 2..index * 2 + 2).ok_or("a numeric that ends too early")?;
        Ok(i16::from_be_bytes(bytes.try_into()?))
    };
    let (groups, weight, sign, scale) = (short(0)?, short(1)?, short(2)?, short(3)?);
    match sign.cast_unsigned() {
        0x0000 | 0x4000 => {}
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        _ => return Ok("-Infinity".to_owned()),
    }
    let group = |at: i16| -> Result<i16, Failure> {
        let index = weight.checked_sub(at).ok_or("a numeric out of range")?;
        if (0..groups).contains(&index) { short(4 + usize::try_from(index)?) } else { Ok(0) }
    };
    let mut text = String::new();
    for at in (0..=weight.max(0)).rev() {
        let digits = group(at)?;
        text.push_str(&if text.is_empty() { digits.to_string() } else { format!("{digits:04}") });
    }
    let whole = text.trim_start_matches('0');
    let mut text = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
    if scale > 0 {
        let mut fraction = String::new();
        for at in 1..=(scale + 3) / 4 {
            fraction.push_str(&format!("{:04}", group(-at)?));
        }
        text = format!("{text}.{}", &fraction[..usize::try_from(scale)?]);
    }
    Ok(if sign.cast_unsigned() == 0x4000 { format!("-{text}") } else { text })
}

fn failed(error: tokio_postgres::Error, doing: &str, sql: &str) -> Error {
    explain(error, &format!("{doing} {}", sql.trim())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_of(weight: i16, sign: u16, scale: i16, groups: &[i16]) -> String {
        let mut raw = Vec::new();
        for short in [i16::try_from(groups.len()).unwrap(), weight, sign.cast_signed(), scale].iter().chain(groups) {
            raw.extend(short.to_be_bytes());
        }
        numeric(&raw).unwrap()
    }

    #[test]
    fn numerics_are_read_digit_by_digit() {
        assert_eq!(numeric_of(0, 0, 2, &[12, 3400]), "12.34");
        assert_eq!(numeric_of(1, 0x4000, 0, &[1, 2]), "-10002");
        assert_eq!(numeric_of(-1, 0, 5, &[1, 2000]), "0.00012");
        assert_eq!(numeric_of(2, 0, 0, &[7]), "700000000");
        assert_eq!(numeric_of(0, 0, 3, &[]), "0.000");
        assert_eq!(numeric_of(0, 0xC000, 0, &[]), "NaN");
    }

    #[test]
    fn a_row_of_a_copy_is_escaped() {
        let mut out = BytesMut::new();
        copy_row(
            &[Param::Null, Param::Text("a\tb\\c\nd".into()), Param::Bytes(vec![1, 255].into()), Param::Bool(true)],
            &mut out,
        );
        assert_eq!(&out[..], b"\\N\ta\\tb\\\\c\\nd\t\\\\x01ff\tt\n");
    }
}
