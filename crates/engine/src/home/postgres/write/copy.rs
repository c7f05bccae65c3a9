//! Rows to the server: by binary COPY, as arrays for `unnest`, or as the parameters of one row.
//!
//! Owns the streaming. Chunks are large, so that neither the socket nor the runtime is busy with small pieces.

use super::encode::Encoder;
use super::rows::Block;
use super::types::{Target, Wire};
use crate::crash;
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use std::error::Error as StdError;
use std::ops::Range;
use std::pin::pin;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{Client, CopyInSink, Error, Statement};

/// Bytes of one piece of a COPY.
const CHUNK_BYTES: usize = 128 << 10;
/// Signature, flags, and the length of an extension that there is not.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Which rows of some blocks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Picks<'a> {
    /// All, in order.
    All,
    /// These numbers. Over several blocks they ascend.
    Some(&'a [u32]),
}

/// Streams rows into the table of a COPY statement, and says how many it took. After `Err` the transaction is at its last
/// savepoint's mercy, as after any failed statement.
pub(super) async fn copy(
    client: &Client,
    statement: &Statement,
    blocks: &[Block],
    picks: Picks<'_>,
) -> Result<u64, Error> {
    stream(client, statement, blocks, picks, false).await
}

/// The same with the row's number, from 0, as an `int4` before its columns.
pub(super) async fn copy_numbered(
    client: &Client,
    statement: &Statement,
    blocks: &[Block],
    picks: Picks<'_>,
) -> Result<u64, Error> {
    stream(client, statement, blocks, picks, true).await
}

async fn stream(
    client: &Client,
    statement: &Statement,
    blocks: &[Block],
    picks: Picks<'_>,
    numbered: bool,
) -> Result<u64, Error> {
    let sink: CopyInSink<Bytes> = client.copy_in(statement).await?;
    let mut sink = pin!(sink);
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
    chunk.extend_from_slice(HEADER);
    let mut at = 0;
    for block in blocks {
        let end = end_of(block, picks);
        while at < end {
            at = fill(block, picks, at..end, numbered, &mut chunk);
            if chunk.len() >= CHUNK_BYTES {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4));
                sink.send(Bytes::from(full)).await?;
                crash::point("mid_rows");
            }
        }
    }
    chunk.extend_from_slice(&TRAILER);
    sink.send(Bytes::from(chunk)).await?;
    sink.finish().await
}

/// Where the rows of a block end: a row number, or a place in the picks.
fn end_of(block: &Block, picks: Picks<'_>) -> usize {
    let end = block.base + block.len();
    match picks {
        Picks::All => end,
        Picks::Some(picks) => picks.len() - picks.iter().rev().take_while(|pick| **pick as usize >= end).count(),
    }
}

/// Encodes rows until the chunk is full; answers where to go on.
fn fill(block: &Block, picks: Picks<'_>, places: Range<usize>, numbered: bool, chunk: &mut Vec<u8>) -> usize {
    let count = block.encoders.len() + usize::from(numbered);
    let count = i16::try_from(count).expect("a table has at most 1,600 columns").to_be_bytes();
    let mut at = places.start;
    while at < places.end && chunk.len() < CHUNK_BYTES {
        let row = match picks {
            Picks::All => at,
            Picks::Some(picks) => picks[at] as usize,
        } - block.base;
        chunk.extend_from_slice(&count);
        if numbered {
            let number = i32::try_from(block.base + row).expect("an epoch has fewer than 2^31 rows");
            chunk.extend_from_slice(&4_i32.to_be_bytes());
            chunk.extend_from_slice(&number.to_be_bytes());
        }
        for encoder in &block.encoders {
            encoder.put(row, chunk);
        }
        at += 1;
    }
    at
}

/// A parameter in its final form.
#[derive(Debug, Default)]
pub(super) struct Parameter {
    bytes: Option<Vec<u8>>,
    text: bool,
}

impl Parameter {
    /// A value of one row.
    pub fn of(encoder: &Encoder, row: usize) -> Self {
        if encoder.is_null(row) {
            return Self::default();
        }
        let mut bytes = Vec::new();
        encoder.put(row, &mut bytes);
        bytes.drain(..4);
        Self { bytes: Some(bytes), text: false }
    }

    /// A value of one row for a parameter whose type the server reads from text.
    pub fn of_target(encoder: &Encoder, row: usize, target: &Target) -> Self {
        Self { text: target.cast.is_some(), ..Self::of(encoder, row) }
    }
}

impl ToSql for Parameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        // The statement's own casts say what the bytes are.
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.text { Format::Text } else { Format::Binary }
    }

    tokio_postgres::types::to_sql_checked!();
}

/// Rows in the arrays of one `unnest`: at most so many, and no more than so many bytes together, which one message can hold.
pub(super) const UNNEST_ROWS_MAX: usize = 8_192;
const UNNEST_BYTES_MAX: usize = 32 << 20;

/// Arrays for some columns of the first rows of `picks`, with how many rows they hold; at least one.
pub(super) fn arrays(block: &Block, picks: &[u32], columns: &[usize], targets: &[Target]) -> (Vec<Parameter>, usize) {
    let most = picks.len().min(UNNEST_ROWS_MAX);
    arrays_within(block, &picks[..most], columns, targets, UNNEST_BYTES_MAX)
}

/// Arrays for some columns of all rows of `picks`.
pub(super) fn arrays_of_all(block: &Block, picks: &[u32], columns: &[usize], targets: &[Target]) -> Vec<Parameter> {
    arrays_within(block, picks, columns, targets, usize::MAX).0
}

fn arrays_within(
    block: &Block,
    picks: &[u32],
    columns: &[usize],
    targets: &[Target],
    bytes_max: usize,
) -> (Vec<Parameter>, usize) {
    let mut arrays: Vec<Vec<u8>> = columns.iter().map(|column| array_header(targets[*column].oid)).collect();
    let mut count = 0;
    for pick in picks {
        for (array, column) in arrays.iter_mut().zip(columns) {
            block.encoders[*column].put(*pick as usize, array);
        }
        count += 1;
        if arrays.iter().map(Vec::len).sum::<usize>() >= bytes_max {
            break;
        }
    }
    let length = i32::try_from(count).expect("an epoch has fewer than 2^31 rows").to_be_bytes();
    let finished = arrays.into_iter().map(|mut array| {
        array[12..16].copy_from_slice(&length);
        Parameter { bytes: Some(array), text: false }
    });
    (finished.collect(), count)
}

/// One dimension, with NULLs, elements of a type, a length to be filled in, counted from 1.
fn array_header(oid: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(4 << 10);
    for word in [1, 1, oid, 0, 1] {
        header.extend_from_slice(&word.to_be_bytes());
    }
    header
}

/// Whether a column can go through `unnest`.
pub(super) fn can_unnest(target: &Target) -> bool {
    !matches!(target.wire, Wire::Array { .. })
}
