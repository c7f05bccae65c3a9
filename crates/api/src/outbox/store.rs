//! The outbox's rows: the one place that knows its columns. `id` gives the order; a row is `pending` until it has ended as `delivered`,
//! `compensated` or `refused`. A relay takes a lease on a row before it sends, so that what it sends is durable before.

use super::channel::{Channel, Inner, Message};
use crate::value::Param;
use chrono::{SecondsFormat, Utc};
use onceflow_engine as engine;
use onceflow_engine::codes;
use onceflow_engine::home::desk::{Cell, Desk, Statement};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Delivered messages are kept up to this many newer ones.
const KEPT: i64 = 100_000;
/// How many old ones go at a time.
const TRIM_MAX: i64 = 1_000;

/// The rows of the pipeline whose name is the first parameter.
const OF_PIPELINE: &str = "pipeline IN (SELECT pipeline FROM {pipeline} WHERE name = $1)";

/// The statement of [`super::Outgoing`]. Topics that can be deleted and made again have an id, which is part of the idempotency key.
macro_rules! insert {
    ($ledger:literal) => {
        concat!(
            "INSERT INTO ", $ledger, "outbox (pipeline, channel, key, idempotency_key, message, compensation, source, topic, \
             \"partition\", \"offset\") \
             SELECT p.pipeline, CAST($2 AS TEXT), CAST($3 AS TEXT), coalesce(CAST($4 AS TEXT), CAST(p.pipeline AS TEXT) || '/' || \
             CASE WHEN x.topic_id IS NULL OR x.cluster_id IN ('file', 'memory') THEN '' ELSE x.topic_id || '/' END || CAST($5 AS TEXT)), \
             CAST($6 AS TEXT), CAST($7 AS TEXT), CAST($8 AS TEXT), CAST($9 AS TEXT), CAST($10 AS INTEGER), CAST($11 AS BIGINT) \
             FROM ", $ledger, "pipeline p LEFT JOIN ", $ledger, "position x ON x.pipeline = p.pipeline AND x.source = CAST($8 AS TEXT) \
             AND x.topic = CAST($9 AS TEXT) AND x.\"partition\" = CAST($10 AS INTEGER) WHERE p.name = CAST($1 AS TEXT)"
        )
    };
}

pub(super) fn insert(sqlite: bool) -> &'static str {
    if sqlite { insert!("onceflow_") } else { insert!("onceflow.") }
}

/// A statement with its parameters, as the outbox keeps it.
pub(super) fn compensation(sql: &str, params: &[Param<'_>], sqlite: bool) -> String {
    let param = |param: &Param<'_>| match param {
        Param::Null => serde_json::Value::Null,
        Param::Bool(value) if sqlite => i64::from(*value).into(),
        Param::Bool(value) => value.to_string().into(),
        Param::Int(value) => (*value).into(),
        Param::Float(value) => value.to_string().into(),
        Param::Text(text) => text.as_ref().into(),
        Param::Bytes(bytes) => serde_json::json!({ "bytes": bytes.as_ref() }),
    };
    let params: Vec<_> = params.iter().map(param).collect();
    serde_json::json!({ "sql": sql, "params": params }).to_string()
}

fn statement_of(compensation: &str) -> engine::Result<Statement> {
    let spoiled = || engine::Error::internal(format!("a compensation in the outbox cannot be read: {compensation}"));
    let kept: serde_json::Value = serde_json::from_str(compensation).map_err(|_| spoiled())?;
    let sql = kept["sql"].as_str().ok_or_else(spoiled)?.to_owned();
    let cell = |value: &serde_json::Value| match value {
        serde_json::Value::Number(number) => number.as_i64().map(Cell::Int),
        serde_json::Value::String(text) => Some(Cell::Text(text.clone())),
        serde_json::Value::Object(_) => serde_json::from_value(value["bytes"].clone()).ok().map(Cell::Bytes),
        _ => Some(Cell::Null),
    };
    let params = kept["params"].as_array().ok_or_else(spoiled)?;
    let parameters = params.iter().map(cell).collect::<Option<_>>().ok_or_else(spoiled)?;
    Ok(Statement { sql, parameters, expect_rows: None })
}

/// The outbox of one pipeline, as one relay sees it.
pub(super) struct Store {
    pub(super) pipeline: Arc<str>,
    /// Names the relay in the leases that it takes.
    pub(super) nonce: String,
    pub(super) channels: Arc<BTreeMap<String, Channel>>,
}

/// What became of a message in a round.
pub(super) enum Outcome {
    Delivered,
    /// Tried again at this moment, in milliseconds since 1970.
    Later {
        reason: String,
        due_at: i64,
    },
    /// Not tried, since one before it failed.
    Untried,
    /// Given up, without a compensation or after it failed.
    Refused(String),
}

impl Store {
    /// Gives back what was taken: by this relay, when its session was lost, or by whoever it was, when a relay starts, since none before
    /// it owns the pipeline any more. One that has slept meanwhile must take nothing from its successor.
    pub(super) async fn give_back(&self, desk: &mut dyn Desk, only_mine: bool) -> engine::Result<()> {
        let (whose, parameters) = match only_mine {
            true => ("leased_by = $2", vec![self.name(), Cell::Text(self.nonce.clone())]),
            false => ("leased_by IS NOT NULL", vec![self.name()]),
        };
        let sql =
            format!("UPDATE {{outbox}} SET leased_by = NULL WHERE {OF_PIPELINE} AND state = 'pending' AND {whose}");
        desk.execute(&[statement(&sql, parameters, None)]).await.map(drop)
    }

    /// Takes the next messages that may be sent, none behind one of its key that has to wait.
    pub(super) async fn take(&self, desk: &mut dyn Desk, most: usize) -> engine::Result<Vec<Message>> {
        let sql = format!(
            "SELECT o.id, o.channel, o.key, o.idempotency_key, o.message, o.compensation, o.attempts FROM {{outbox}} o \
             WHERE o.{OF_PIPELINE} AND o.state = 'pending' AND o.leased_by IS NULL \
             AND o.due_at <= $2 AND {} AND NOT EXISTS (SELECT 1 FROM {{outbox}} b WHERE b.pipeline = o.pipeline \
             AND b.channel = o.channel AND b.key = o.key AND b.id < o.id AND b.state = 'pending' AND (b.leased_by IS NOT NULL OR b.due_at > 0)) \
             ORDER BY o.id LIMIT {most}",
            self.ours(3)
        );
        let parameters = self.with_channels(vec![self.name(), Cell::Int(now())]);
        let found = desk.rows(&sql, &parameters).await?;
        let messages: Vec<_> = found.into_iter().filter_map(message).collect();
        let lease = |message: &Message| {
            let sql = "UPDATE {outbox} SET leased_by = $1, attempts = attempts + 1 WHERE id = $2 AND state = 'pending' AND leased_by IS NULL";
            statement(sql, vec![Cell::Text(self.nonce.clone()), Cell::Int(message.0.id)], Some(1))
        };
        if !messages.is_empty() {
            desk.execute(&messages.iter().map(lease).collect::<Vec<_>>()).await?;
        }
        Ok(messages)
    }

    /// `o.channel IN ($3, $4)`, for the channels that the program has.
    fn ours(&self, first: usize) -> String {
        let marks = (first..first + self.channels.len()).map(|mark| format!("${mark}")).collect::<Vec<_>>();
        format!("o.channel IN ({})", marks.join(", "))
    }

    /// The parameters of a statement that ends with the marks of [`Store::ours`].
    fn with_channels(&self, mut parameters: Vec<Cell>) -> Vec<Cell> {
        parameters.extend(self.channels.keys().map(|channel| Cell::Text(channel.clone())));
        parameters
    }

    /// Writes down what became of messages, all or none. Refused where another relay has them by now.
    pub(super) async fn settle(&self, desk: &mut dyn Desk, outcomes: &[(Message, Outcome)]) -> engine::Result<()> {
        let mut statements = Vec::with_capacity(outcomes.len());
        for (message, outcome) in outcomes {
            self.outcome(message, outcome, &mut statements);
        }
        desk.execute(&statements).await.map(drop)
    }

    fn outcome(&self, message: &Message, outcome: &Outcome, statements: &mut Vec<Statement>) {
        let mine = || [Cell::Int(message.0.id), Cell::Text(self.nonce.clone())];
        let (sql, mut parameters) = match outcome {
            Outcome::Delivered => (
                "state = 'delivered', leased_by = NULL, reason = NULL, ended_at = $1 WHERE id = $2 AND leased_by = $3",
                vec![moment()],
            ),
            Outcome::Later { reason, due_at } => (
                "leased_by = NULL, reason = $1, due_at = $2 WHERE id = $3 AND leased_by = $4",
                vec![text(reason), Cell::Int(*due_at)],
            ),
            Outcome::Untried => {
                ("leased_by = NULL, attempts = attempts - 1 WHERE id = $1 AND leased_by = $2", Vec::new())
            }
            Outcome::Refused(reason) => {
                statements.push(dead_letter(message, reason));
                (
                    "state = 'refused', leased_by = NULL, reason = $1, ended_at = $2 WHERE id = $3 AND leased_by = $4",
                    vec![text(reason), moment()],
                )
            }
        };
        parameters.extend(mine());
        statements.push(statement(&format!("UPDATE {{outbox}} SET {sql}"), parameters, Some(1)));
    }

    /// Executes a message's compensation and marks the message, in one transaction.
    pub(super) async fn compensate(&self, desk: &mut dyn Desk, message: &Message, reason: &str) -> engine::Result<()> {
        let compensation = message.0.compensation.as_deref().unwrap_or_default();
        let sql = "UPDATE {outbox} SET state = 'compensated', leased_by = NULL, reason = $1, ended_at = $2 WHERE id = $3 AND leased_by = $4";
        let parameters = vec![text(reason), moment(), Cell::Int(message.0.id), Cell::Text(self.nonce.clone())];
        // The mark first: where another relay has the message, the compensation is not even tried.
        desk.execute(&[statement(sql, parameters, Some(1)), statement_of(compensation)?]).await.map(drop)
    }

    /// How many messages of this program's channels are still to be delivered, and when the first of those that wait is due.
    pub(super) async fn pending(&self, desk: &mut dyn Desk) -> engine::Result<(u64, Option<i64>)> {
        let sql = format!(
            "SELECT count(*), min(o.due_at) FROM {{outbox}} o WHERE o.{OF_PIPELINE} \
             AND o.state = 'pending' AND {}",
            self.ours(2)
        );
        let parameters = self.with_channels(vec![self.name()]);
        let rows = desk.rows(&sql, &parameters).await?;
        match rows.first().map(Vec::as_slice) {
            Some([Cell::Int(count), Cell::Int(due)]) => Ok((u64::try_from(*count).unwrap_or(0), Some(*due))),
            _ => Ok((0, None)),
        }
    }

    /// Removes delivered messages that are old.
    pub(super) async fn trim(&self, desk: &mut dyn Desk) -> engine::Result<()> {
        let sql = format!(
            "DELETE FROM {{outbox}} WHERE id IN (SELECT id FROM {{outbox}} WHERE state = 'delivered' \
             AND {OF_PIPELINE} \
             AND id <= (SELECT max(id) FROM {{outbox}}) - {KEPT} ORDER BY id LIMIT {TRIM_MAX})"
        );
        desk.execute(&[statement(&sql, vec![self.name()], None)]).await.map(drop)
    }

    fn name(&self) -> Cell {
        Cell::Text(self.pipeline.to_string())
    }
}

/// The message as a dead letter, with what is known of its record.
fn dead_letter(message: &Message, reason: &str) -> Statement {
    let sql = "INSERT INTO {dead_letter} (pipeline, source, topic, \"partition\", \"offset\", key, value, code, reason, place, created_at) \
               SELECT pipeline, source, topic, \"partition\", \"offset\", $1, $2, $3, $4, $5, $6 FROM {outbox} WHERE id = $7";
    let parameters = vec![
        Cell::Bytes(message.key().as_bytes().to_vec()),
        Cell::Bytes(message.body().as_bytes().to_vec()),
        Cell::Text(codes::OF1011.to_string()),
        text(reason),
        Cell::Text(format!("outbox, channel {}, message {}", message.0.channel, message.0.id)),
        moment(),
        Cell::Int(message.0.id),
    ];
    statement(sql, parameters, Some(1))
}

fn message(row: Vec<Cell>) -> Option<Message> {
    let [id, channel, key, idempotency_key, body, compensation, attempts] = <[Cell; 7]>::try_from(row).ok()?;
    let text = |cell| if let Cell::Text(text) = cell { Some(text) } else { None };
    let (Cell::Int(id), Cell::Int(attempts)) = (id, attempts) else { return None };
    Some(Message(Arc::new(Inner {
        id,
        channel: text(channel)?,
        key: text(key)?,
        idempotency_key: text(idempotency_key)?,
        body: text(body)?,
        compensation: text(compensation),
        attempts: u32::try_from(attempts).unwrap_or(0).saturating_add(1),
    })))
}

fn statement(sql: &str, parameters: Vec<Cell>, expect_rows: Option<u64>) -> Statement {
    Statement { sql: sql.to_owned(), parameters, expect_rows }
}

/// A reason of somebody else's: no longer than a person reads, and without what PostgreSQL's text cannot hold.
fn text(reason: &str) -> Cell {
    Cell::Text(reason.chars().take(2_000).map(|ch| if ch == '\0' { '\u{fffd}' } else { ch }).collect())
}

fn moment() -> Cell {
    Cell::Text(Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    Utc::now().timestamp_millis()
}
