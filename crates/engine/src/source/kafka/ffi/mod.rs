//! The only unsafe code of the engine: librdkafka's batch and admin calls, which rdkafka's safe interface does not have.
//!
//! Owns the lifetimes of native objects: each wrapper keeps the client alive, is destroyed exactly once, and hands out borrowed
//! views only inside a call. It does not decide anything: what an error means is the callers' business.
//!
//! Reading uses the simple consumer (`rd_kafka_consume_start_queue`): exact offsets, no group, no assignment, no coordinator.
//! All partitions of a reader lead into one queue, which is never the client's own.

#![allow(unsafe_code)]

mod questions;
mod reading;
mod route;

pub(super) use questions::{
    Asked, At, Described, EARLIEST, LATEST, Offsets, ask_group, ask_offsets, ask_topics, store_group,
};
pub(super) use reading::{Message, Queue, Topic};
pub(super) use route::connect_through;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaType;
use rdkafka_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// A native error: its code and librdkafka's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
}

/// What the client says outside of reading.
#[derive(Debug)]
pub(super) enum Event {
    /// A log line; levels as in syslog.
    Log { level: i32, facility: String, text: String },
    /// A global error, such as a broker that is down.
    Error(Failure),
    /// An OAUTHBEARER token is wanted.
    TokenWanted,
    /// Anything else.
    Other,
}

struct Quiet;

impl ClientContext for Quiet {}

/// A native consumer client.
pub(super) struct Native {
    main: *mut sys::rd_kafka_queue_t,
    token_principal: Option<String>,
    has_group: bool,
    client: Client<Quiet>,
}

// SAFETY: librdkafka's client and queues may be used from any thread and from several at once; the pointer is never
// changed and destroyed only by `drop`.
unsafe impl Send for Native {}
// SAFETY: as above.
unsafe impl Sync for Native {}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: our own reference to the main queue, released once, before the client.
        unsafe { sys::rd_kafka_queue_destroy(self.main) }
    }
}

impl Native {
    /// A client of this configuration. Connects in the background.
    pub(super) fn open(config: &ClientConfig) -> Result<Arc<Self>, KafkaError> {
        let native = config.create_native_config()?;
        // SAFETY: the configuration is alive, and nobody else uses it.
        unsafe {
            let events = sys::RD_KAFKA_EVENT_ERROR | sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;
            sys::rd_kafka_conf_set_events(native.ptr(), events);
        }
        route::install(&native);
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_CONSUMER, Quiet)?;
        // SAFETY: the client is alive; the reference that is returned is ours.
        let main = unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) };
        let principal = config.get("sasl.oauthbearer.config").and_then(|text| text.strip_prefix("principal="));
        let has_group = config.get("group.id").is_some();
        Ok(Arc::new(Self { main, token_principal: principal.map(str::to_owned), has_group, client }))
    }

    /// Whom an unsecured OAUTHBEARER token names.
    pub(super) fn token_principal(&self) -> Option<String> {
        self.token_principal.clone()
    }

    fn ptr(&self) -> *mut sys::rd_kafka_t {
        self.client.native_ptr()
    }

    /// Takes the next event from the main queue. Does not block.
    pub(super) fn poll_event(&self) -> Option<Event> {
        // SAFETY: the queue is alive; the event is destroyed once, after it was read.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.main, 0);
            if event.is_null() {
                return None;
            }
            let read = read_event(event);
            sys::rd_kafka_event_destroy(event);
            Some(read)
        }
    }

    /// Hands over an OAUTHBEARER token that ends at `until_ms` since 1970.
    pub(super) fn set_token(&self, token: &str, principal: &str, until_ms: i64) -> Result<(), String> {
        let (token, principal) = (c_string(token), c_string(principal));
        let mut reason = [0 as c_char; 512];
        // SAFETY: all pointers are alive for the call, and the length is that of the buffer.
        unsafe {
            let code = sys::rd_kafka_oauthbearer_set_token(
                self.ptr(),
                token.as_ptr(),
                until_ms,
                principal.as_ptr(),
                ptr::null_mut(),
                0,
                reason.as_mut_ptr(),
                reason.len(),
            );
            if RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError { Ok(()) } else { Err(text(reason.as_ptr())) }
        }
    }

    /// Says that no token can be had.
    pub(super) fn refuse_token(&self, why: &str) {
        let why = c_string(why);
        // SAFETY: the text is alive for the call.
        unsafe { sys::rd_kafka_oauthbearer_set_token_failure(self.ptr(), why.as_ptr()) };
    }

    /// The cluster's id; `None` where it is not known within the time, or the brokers have none.
    pub(super) fn cluster_id(&self, wait: Duration) -> Option<String> {
        // SAFETY: the string is ours and freed once, by librdkafka's allocator.
        unsafe {
            let id = sys::rd_kafka_clusterid(self.ptr(), milliseconds(wait));
            if id.is_null() {
                return None;
            }
            let owned = text(id);
            sys::rd_kafka_mem_free(self.ptr(), id.cast());
            Some(owned)
        }
    }

    /// The names of all topics.
    pub(super) fn topic_names(&self, wait: Duration) -> Result<Vec<String>, KafkaError> {
        let metadata = self.client.fetch_metadata(None, wait)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }
}

/// # Safety
/// The event is alive.
unsafe fn read_event(event: *mut sys::rd_kafka_event_t) -> Event {
    // SAFETY: the event is alive, and what it points to lives as long as it.
    unsafe {
        match sys::rd_kafka_event_type(event) {
            sys::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                sys::rd_kafka_event_log(event, &raw mut facility, &raw mut line, &raw mut level);
                Event::Log { level, facility: text(facility), text: text(line) }
            }
            sys::RD_KAFKA_EVENT_ERROR => Event::Error(event_failure(event)),
            sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => Event::TokenWanted,
            _ => Event::Other,
        }
    }
}

/// # Safety
/// The event is alive.
unsafe fn event_failure(event: *mut sys::rd_kafka_event_t) -> Failure {
    // SAFETY: the event is alive, and its text lives as long as it.
    unsafe {
        Failure { code: sys::rd_kafka_event_error(event).into(), text: text(sys::rd_kafka_event_error_string(event)) }
    }
}

/// # Safety
/// Null, or a C string that is alive.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller says that it is alive.
    unsafe { CStr::from_ptr(string).to_string_lossy().into_owned() }
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("no NUL is left in it")
}

fn milliseconds(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}

fn number(partition: u32) -> i32 {
    i32::try_from(partition).expect("a broker numbers partitions with 31 bits")
}

/// # Safety
/// The pointer is null, or `length` bytes behind it live for `'a`.
unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: not null, and the caller says so.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

fn last_error(text: &str) -> Failure {
    // SAFETY: reads a thread-local number.
    let code = unsafe { sys::rd_kafka_last_error() };
    Failure { code: code.into(), text: text.to_owned() }
}
