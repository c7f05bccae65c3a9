//! Messages for the world outside the transaction: rows of the outbox, written with everything else and delivered after the commit.
//!
//! Source of the pattern: "transactional outbox" (Richardson, Microservices Patterns, 2018, §3.3). The header's name is that of the
//! IETF draft `Idempotency-Key`.

use crate::batch::{Batch, Record};
use crate::error::{Error, Result};
use crate::tx::Tx;
use crate::value::Param;
use futures_util::future::LocalBoxFuture;
use onceflow_engine as engine;
use onceflow_engine::codes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

mod channel;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "kafka")]
mod kafka;
pub(crate) mod relay;
mod store;

pub use channel::{Channel, Message};
#[cfg(feature = "http")]
pub use http::Http;

/// What a lane knows for its messages: the pipeline, its channels, and the record that the handler is at.
#[derive(Default)]
pub(crate) struct Desk {
    pipeline: Arc<str>,
    channels: Arc<Vec<String>>,
    at: RefCell<Origin>,
    /// Messages so far, by channel and place, in this call of the handler.
    written: RefCell<HashMap<(String, String), u32>>,
}

/// Where a message comes from.
#[derive(Clone, Default)]
struct Origin {
    source: String,
    topic: String,
    partition: u32,
    /// The record's offset, or where the batch begins.
    offset: u64,
    /// `offset`, or `from-to` for a batch.
    place: String,
    /// The record's key, as text.
    key: Option<String>,
}

impl Origin {
    fn of_record<T>(record: &Record<T>) -> Self {
        let key = record.key().map(|key| match std::str::from_utf8(key) {
            Ok(text) if !text.contains('\0') => text.to_owned(),
            _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
        Self {
            source: record.source().to_owned(),
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
            place: record.offset().to_string(),
            key,
        }
    }

    fn of_batch<T>(batch: &Batch<T>) -> Self {
        let offsets = batch.offsets();
        Self {
            source: batch.source().to_owned(),
            topic: batch.topic().to_owned(),
            partition: batch.partition(),
            offset: offsets.start,
            place: format!("{}-{}", offsets.start, offsets.end),
            key: None,
        }
    }
}

impl Desk {
    pub(crate) fn new(pipeline: Arc<str>, channels: Arc<Vec<String>>) -> Self {
        Self { pipeline, channels, ..Self::default() }
    }

    /// A call of the handler begins.
    pub(crate) fn begin<T>(&self, batch: &Batch<T>) {
        *self.at.borrow_mut() = Origin::of_batch(batch);
        self.written.borrow_mut().clear();
    }

    /// The handler is at this record.
    pub(crate) fn at<T>(&self, record: &Record<T>) {
        *self.at.borrow_mut() = Origin::of_record(record);
    }

    /// The how-manieth message of a place for a channel this is, from 0.
    fn count(&self, channel: &str, place: &str) -> u32 {
        let mut written = self.written.borrow_mut();
        let count = written.entry((channel.to_owned(), place.to_owned())).or_default();
        *count += 1;
        *count - 1
    }
}

/// A message on its way into the outbox: `tx.outbox("mail", &mail).await?`. Nothing is written before it is awaited.
#[must_use = "a message is written when it is awaited"]
pub struct Outgoing<'t> {
    tx: &'t Tx<'t>,
    channel: String,
    message: Result<String, serde_json::Error>,
    origin: Origin,
    key: Option<String>,
    id: Option<String>,
    compensation: Option<String>,
}

impl<'a> Tx<'a> {
    /// Writes a message for a channel of the pipeline ([`Ready::channel`](crate::Ready::channel)) into the outbox, in this transaction. It
    /// is delivered after the commit, and never where there is none: at least once, in order per key, with an idempotency key that is
    /// the same at every attempt. The message is anything that serde can write as JSON.
    ///
    /// Order and idempotency key come from the record that the handler is at: in [`Writing::for_each`](crate::Writing::for_each) by
    /// themselves, elsewhere by [`Outgoing::of`].
    pub fn outbox<'t, M: serde::Serialize + ?Sized>(&'t self, channel: &str, message: &M) -> Outgoing<'t> {
        Outgoing {
            tx: self,
            channel: channel.to_owned(),
            message: serde_json::to_string(message),
            origin: self.desk().at.borrow().clone(),
            key: None,
            id: None,
            compensation: None,
        }
    }
}

impl<'t> Outgoing<'t> {
    /// The record that the message is about: its idempotency key becomes `pipeline/…/topic/partition/offset/channel/n`, the same
    /// whenever the record is handled again, even after the database was restored from a backup.
    pub fn of<T>(mut self, record: &Record<T>) -> Self {
        self.origin = Origin::of_record(record);
        self
    }

    /// Messages with the same key are delivered in their order, one after the other. Where nothing is said, it is the record's key, and
    /// for records without one their partition.
    pub fn key(mut self, key: impl fmt::Display) -> Self {
        self.key = Some(key.to_string());
        self
    }

    /// Another idempotency key; it has to be unique among all messages of the channel.
    pub fn id(mut self, id: impl fmt::Display) -> Self {
        self.id = Some(id.to_string());
        self
    }

    /// A statement that takes back what this transaction did. It is executed where the channel refuses the message for good, in one
    /// transaction with the marking of that, so exactly once.
    pub fn or_compensate(mut self, sql: &str, params: &[Param<'_>]) -> Self {
        let sqlite = self.tx.is_sqlite();
        self.compensation = Some(store::compensation(sql, params, sqlite));
        self
    }

    async fn write(self) -> Result {
        let (desk, origin) = (self.tx.desk(), &self.origin);
        if !desk.channels.contains(&self.channel) {
            return Err(unknown(&self.channel, &desk.channels));
        }
        let count = desk.count(&self.channel, &origin.place);
        let place = format!("{}/{}/{}/{}/{count}", origin.topic, origin.partition, origin.place, self.channel);
        let key = self.key.or_else(|| origin.key.clone());
        let key = key.unwrap_or_else(|| format!("{}/{}", origin.topic, origin.partition));
        let message = self.message?;
        let params = [
            Param::Text((&*desk.pipeline).into()),
            Param::Text(self.channel.as_str().into()),
            Param::Text(key.into()),
            self.id.map_or(Param::Null, |id| Param::Text(id.into())),
            Param::Text(place.into()),
            Param::Text(message.into()),
            self.compensation.map_or(Param::Null, |text| Param::Text(text.into())),
            Param::Text(origin.source.as_str().into()),
            Param::Text(origin.topic.as_str().into()),
            Param::Int(i64::from(origin.partition)),
            Param::Int(i64::try_from(origin.offset).unwrap_or(i64::MAX)),
        ];
        match self.tx.execute_ours(store::insert(self.tx.is_sqlite()), &params).await? {
            1 => Ok(()),
            count => Err(engine::Error::internal(format!("a message became {count} rows of the outbox")).into()),
        }
    }
}

impl<'t> IntoFuture for Outgoing<'t> {
    type Output = Result;
    type IntoFuture = LocalBoxFuture<'t, Result>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.write())
    }
}

fn unknown(channel: &str, known: &[String]) -> Error {
    let error = engine::Error::config(codes::OF1012, format!("the pipeline has no channel '{channel}'"));
    let help = match known {
        [] => format!(".channel(\"{channel}\", Http::post(\"http://localhost:8080/hook\")) before it is run"),
        known => format!("it has {}", known.join(", ")),
    };
    error.help(help).into()
}
