//! One queue, batches of messages.

use super::{Failure, Native, bytes, c_string, last_error, milliseconds, number, text};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// A queue of our own.
pub(in super::super) struct Queue {
    pub(super) queue: *mut sys::rd_kafka_queue_t,
    pointers: Vec<*mut sys::rd_kafka_message_t>,
    _native: Arc<Native>,
}

// SAFETY: a queue may be used from any thread; the pointers are only filled inside of one call.
unsafe impl Send for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: our own reference, released once; the client is still alive, because `_native` is dropped after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) }
    }
}

impl Queue {
    /// A queue that hands out at most `messages_max` at a time.
    pub(in super::super) fn new(native: &Arc<Native>, messages_max: usize) -> Self {
        // SAFETY: the client is alive and outlives the queue, because the queue keeps a reference to it.
        let queue = unsafe { sys::rd_kafka_queue_new(native.ptr()) };
        assert!(!queue.is_null(), "rd_kafka_queue_new never fails");
        Self { queue, pointers: vec![ptr::null_mut(); messages_max.max(1)], _native: native.clone() }
    }

    /// Waits for a first message and takes what else is there, at most `messages_max`. Returns how many there were.
    pub(in super::super) fn consume(
        &mut self,
        wait: Duration,
        messages_max: usize,
        mut each: impl FnMut(&Message<'_>),
    ) -> usize {
        let room = messages_max.clamp(1, self.pointers.len());
        // librdkafka waits until the whole batch is full, so that the wait is for one message only.
        let first = self.fill(0, milliseconds(wait), 1);
        if first == 0 {
            return 0;
        }
        let taken = Taken { pointers: &self.pointers[..first + self.fill(first, 0, room - first)] };
        for pointer in taken.pointers {
            // SAFETY: librdkafka filled the slot with a message that is ours until `Taken` destroys it.
            each(&Message(unsafe { &**pointer }));
        }
        taken.pointers.len()
    }

    fn fill(&self, from: usize, wait_ms: c_int, count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        assert!(from + count <= self.pointers.len(), "the batch has room for what is asked");
        // SAFETY: the queue is alive, and the slots `from..from + count` are inside of the vector. Only this thread touches it.
        let got = unsafe {
            let slots = self.pointers.as_ptr().cast_mut().add(from);
            sys::rd_kafka_consume_batch_queue(self.queue, wait_ms, slots, count)
        };
        usize::try_from(got).unwrap_or(0)
    }
}

/// Messages that are ours; destroyed on every way out.
struct Taken<'a> {
    pointers: &'a [*mut sys::rd_kafka_message_t],
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for pointer in self.pointers {
            // SAFETY: each was handed to us by librdkafka and is destroyed exactly once, here.
            unsafe { sys::rd_kafka_message_destroy(*pointer) }
        }
    }
}

/// A message or an error about a partition, borrowed for the time of one call.
pub(in super::super) struct Message<'a>(&'a sys::rd_kafka_message_t);

impl Message<'_> {
    /// What it reports; `NoError` where it is a record.
    pub(in super::super) fn code(&self) -> RDKafkaErrorCode {
        self.0.err.into()
    }

    /// Whether it is a record.
    pub(in super::super) fn is_record(&self) -> bool {
        matches!(self.0.err, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
    }

    /// The words of the error.
    pub(in super::super) fn error_text(&self) -> String {
        // SAFETY: the message is alive, and its text lives as long as it.
        unsafe { text(sys::rd_kafka_message_errstr(self.0)) }
    }

    /// Tells partitions apart quickly; means nothing else. Stable while a [`Topic`] is held.
    pub(in super::super) fn origin(&self) -> (usize, i32) {
        (self.0.rkt.addr(), self.0.partition)
    }

    /// The topic's name, where the message is about one.
    pub(in super::super) fn topic(&self) -> Option<String> {
        // SAFETY: the topic is kept alive by the message.
        (!self.0.rkt.is_null()).then(|| unsafe { text(sys::rd_kafka_topic_name(self.0.rkt)) })
    }

    /// The partition, where the message is about one.
    pub(in super::super) fn partition(&self) -> Option<u32> {
        u32::try_from(self.0.partition).ok()
    }

    /// The offset; negative where there is none.
    pub(in super::super) fn offset(&self) -> i64 {
        self.0.offset
    }

    /// The key of a record.
    pub(in super::super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka says so: the pointer is null, or `key_len` bytes live as long as the message.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// The value of a record.
    pub(in super::super) fn value(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// The timestamp, and whether the broker set it.
    pub(in super::super) fn timestamp(&self) -> Option<(i64, bool)> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        match kind {
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => None,
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => Some((time, false)),
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Some((time, true)),
        }
    }

    /// The leader epoch of a record, where the broker tells it.
    pub(in super::super) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is alive.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.0) };
        (epoch >= 0).then_some(epoch)
    }

    /// Reads the headers, in order. A name that is not UTF-8 is read with replacement characters.
    pub(in super::super) fn headers(&self, into: &mut Vec<(String, Option<Vec<u8>>)>) {
        into.clear();
        // SAFETY: the message is alive; headers, names and values live as long as it.
        unsafe {
            let mut headers = ptr::null_mut();
            let found = sys::rd_kafka_message_headers(self.0, &raw mut headers);
            if RDKafkaErrorCode::from(found) != RDKafkaErrorCode::NoError || headers.is_null() {
                return;
            }
            for index in 0..sys::rd_kafka_header_cnt(headers) {
                let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0_usize);
                sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size);
                into.push((text(name), bytes(value, size).map(<[u8]>::to_vec)));
            }
        }
    }
}

/// A topic of a client.
pub(in super::super) struct Topic {
    topic: *mut sys::rd_kafka_topic_t,
    _native: Arc<Native>,
}

// SAFETY: a topic may be used from any thread.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: our own reference, released once, while the client is alive.
        unsafe { sys::rd_kafka_topic_destroy(self.topic) }
    }
}

impl Topic {
    /// A topic by name, with the client's settings.
    pub(in super::super) fn new(native: &Arc<Native>, name: &str) -> Result<Self, Failure> {
        let name = c_string(name);
        // SAFETY: the client is alive and outlives the topic; without a configuration the client's default is used.
        let topic = unsafe { sys::rd_kafka_topic_new(native.ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            return Err(last_error("the topic's name is not valid"));
        }
        Ok(Self { topic, _native: native.clone() })
    }

    /// Begins to fetch a partition from exactly this offset into the queue.
    pub(in super::super) fn start(&self, partition: u32, offset: i64, queue: &Queue) -> Result<(), Failure> {
        assert!(offset >= 0, "a logical offset would let librdkafka choose where to read");
        // SAFETY: topic and queue are alive and belong to one client.
        let done = unsafe { sys::rd_kafka_consume_start_queue(self.topic, number(partition), offset, queue.queue) };
        if done == 0 { Ok(()) } else { Err(last_error("the partition cannot be read")) }
    }

    /// Ends fetching and forgets what was buffered. Returns when it has ended; talks to no broker.
    pub(in super::super) fn stop(&self, partition: u32) {
        // SAFETY: the topic is alive. It fails only where the partition was never started.
        unsafe { sys::rd_kafka_consume_stop(self.topic, number(partition)) };
    }
}
