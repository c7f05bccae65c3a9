//! The only unsafe code of the engine: librdkafka's batch and admin calls, which rdkafka's safe interface does not have.
//!
//! Owns the lifetimes of native objects: each wrapper keeps the client alive, is destroyed exactly once, and hands out borrowed
//! views only inside a call. It does not decide anything: what an error means is the callers' business.
//!
//! Reading uses the simple consumer (`rd_kafka_consume_start_queue`): exact offsets, no group, no assignment, no coordinator.
//! All partitions of a reader lead into one queue, which is never the client's own.

#![allow(unsafe_code)]

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
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_CONSUMER, Quiet)?;
        // SAFETY: the client is alive; the reference that is returned is ours.
        let main = unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) };
        let principal = config.get("sasl.oauthbearer.config").and_then(|text| text.strip_prefix("principal="));
        Ok(Arc::new(Self { main, token_principal: principal.map(str::to_owned), client }))
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
        Failure {
            code: sys::rd_kafka_event_error(event).into(),
            text: text(sys::rd_kafka_event_error_string(event)),
        }
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

// ---- one queue, batches of messages -------------------------------------------------------------------------------

/// A queue of our own.
pub(super) struct Queue {
    queue: *mut sys::rd_kafka_queue_t,
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
    pub(super) fn new(native: &Arc<Native>, messages_max: usize) -> Self {
        // SAFETY: the client is alive and outlives the queue, because the queue keeps a reference to it.
        let queue = unsafe { sys::rd_kafka_queue_new(native.ptr()) };
        assert!(!queue.is_null(), "rd_kafka_queue_new never fails");
        Self { queue, pointers: vec![ptr::null_mut(); messages_max.max(1)], _native: native.clone() }
    }

    /// Waits for a first message and takes what else is there, at most `messages_max`. Returns how many there were.
    pub(super) fn consume(&mut self, wait: Duration, messages_max: usize, mut each: impl FnMut(&Message<'_>)) -> usize {
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
pub(super) struct Message<'a>(&'a sys::rd_kafka_message_t);

impl Message<'_> {
    /// What it reports; `NoError` where it is a record.
    pub(super) fn code(&self) -> RDKafkaErrorCode {
        self.0.err.into()
    }

    /// Whether it is a record.
    pub(super) fn is_record(&self) -> bool {
        matches!(self.0.err, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
    }

    /// The words of the error.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive, and its text lives as long as it.
        unsafe { text(sys::rd_kafka_message_errstr(self.0)) }
    }

    /// Tells partitions apart quickly; means nothing else. Stable while a [`Topic`] is held.
    pub(super) fn origin(&self) -> (usize, i32) {
        (self.0.rkt.addr(), self.0.partition)
    }

    /// The topic's name, where the message is about one.
    pub(super) fn topic(&self) -> Option<String> {
        // SAFETY: the topic is kept alive by the message.
        (!self.0.rkt.is_null()).then(|| unsafe { text(sys::rd_kafka_topic_name(self.0.rkt)) })
    }

    /// The partition, where the message is about one.
    pub(super) fn partition(&self) -> Option<u32> {
        u32::try_from(self.0.partition).ok()
    }

    /// The offset; negative where there is none.
    pub(super) fn offset(&self) -> i64 {
        self.0.offset
    }

    /// The key of a record.
    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: librdkafka says so: the pointer is null, or `key_len` bytes live as long as the message.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    /// The value of a record.
    pub(super) fn value(&self) -> Option<&[u8]> {
        // SAFETY: as for the key.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// The timestamp, and whether the broker set it.
    pub(super) fn timestamp(&self) -> Option<(i64, bool)> {
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
    pub(super) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is alive.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.0) };
        (epoch >= 0).then_some(epoch)
    }

    /// Reads the headers, in order. A name that is not UTF-8 is read with replacement characters.
    pub(super) fn headers(&self, into: &mut Vec<(String, Option<Vec<u8>>)>) {
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

/// # Safety
/// The pointer is null, or `length` bytes behind it live for `'a`.
unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: not null, and the caller says so.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

/// A topic of a client.
pub(super) struct Topic {
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
    pub(super) fn new(native: &Arc<Native>, name: &str) -> Result<Self, Failure> {
        let name = c_string(name);
        // SAFETY: the client is alive and outlives the topic; without a configuration the client's default is used.
        let topic = unsafe { sys::rd_kafka_topic_new(native.ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            return Err(last_error("the topic's name is not valid"));
        }
        Ok(Self { topic, _native: native.clone() })
    }

    /// Begins to fetch a partition from exactly this offset into the queue.
    pub(super) fn start(&self, partition: u32, offset: i64, queue: &Queue) -> Result<(), Failure> {
        assert!(offset >= 0, "a logical offset would let librdkafka choose where to read");
        // SAFETY: topic and queue are alive and belong to one client.
        let done = unsafe { sys::rd_kafka_consume_start_queue(self.topic, number(partition), offset, queue.queue) };
        if done == 0 { Ok(()) } else { Err(last_error("the partition cannot be read")) }
    }

    /// Ends fetching and forgets what was buffered. Returns when it has ended; talks to no broker.
    pub(super) fn stop(&self, partition: u32) {
        // SAFETY: the topic is alive. It fails only where the partition was never started.
        unsafe { sys::rd_kafka_consume_stop(self.topic, number(partition)) };
    }
}

fn last_error(text: &str) -> Failure {
    // SAFETY: reads a thread-local number.
    let code = unsafe { sys::rd_kafka_last_error() };
    Failure { code: code.into(), text: text.to_owned() }
}

// ---- questions to the cluster -------------------------------------------------------------------------------------

/// A question that was sent. Dropping it forgets the answer.
pub(super) struct Asked<T> {
    queue: Queue,
    read: unsafe fn(*mut sys::rd_kafka_event_t) -> T,
}

impl<T> Asked<T> {
    /// The answer, if it comes within the time.
    pub(super) fn poll(&mut self, wait: Duration) -> Option<Result<T, Failure>> {
        // SAFETY: the queue is alive; it gets one event, of the kind that `read` expects, or an error; destroyed once.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.queue.queue, milliseconds(wait));
            if event.is_null() {
                return None;
            }
            let failure = event_failure(event);
            let answer = if failure.code == RDKafkaErrorCode::NoError { Ok((self.read)(event)) } else { Err(failure) };
            sys::rd_kafka_event_destroy(event);
            Some(answer)
        }
    }
}

/// Options of an admin request; destroyed on every way out.
struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) }
    }
}

impl Options {
    fn new(native: &Native, operation: sys::rd_kafka_admin_op_t, wait: Duration) -> Self {
        let mut reason = [0 as c_char; 256];
        // SAFETY: the client is alive, and the length is that of the buffer. A time in range is always accepted.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(native.ptr(), operation);
            let time = milliseconds(wait).clamp(1, 3_600_000);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, time, reason.as_mut_ptr(), reason.len());
            Self(options)
        }
    }
}

/// A list of partitions with offsets; destroyed on every way out.
struct List(*mut sys::rd_kafka_topic_partition_list_t);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}

/// A partition and an offset, as questions take them and answers give them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct At {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) offset: i64,
}

impl List {
    fn new(native: &Native, entries: &[At], metadata: &str) -> Self {
        // SAFETY: the list is ours; `add` copies the name and returns a pointer into the list that is valid until the next `add`. The
        // metadata is allocated by librdkafka, which frees it together with the list.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(c_int::try_from(entries.len()).unwrap_or(0));
            for entry in entries {
                let name = c_string(&entry.topic);
                let slot = sys::rd_kafka_topic_partition_list_add(list, name.as_ptr(), number(entry.partition));
                (*slot).offset = entry.offset;
                if !metadata.is_empty() {
                    let copy = sys::rd_kafka_mem_malloc(native.ptr(), metadata.len());
                    ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                    (*slot).metadata = copy;
                    (*slot).metadata_size = metadata.len();
                }
            }
            Self(list)
        }
    }
}

/// # Safety
/// The entry is alive.
unsafe fn read_at(entry: *const sys::rd_kafka_topic_partition_t) -> (At, Result<(), Failure>) {
    // SAFETY: the entry is alive, and its name lives as long as it.
    unsafe {
        let code = RDKafkaErrorCode::from((*entry).err);
        let partition = u32::try_from((*entry).partition).unwrap_or(u32::MAX);
        let at = At { topic: text((*entry).topic), partition, offset: (*entry).offset };
        let result = match code {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(Failure { code, text: code.to_string() }),
        };
        (at, result)
    }
}

/// # Safety
/// `items` points to `count` pointers that are alive.
unsafe fn each<'a, T>(items: *const *const T, count: usize) -> &'a [*const T] {
    // SAFETY: librdkafka may return null for none; otherwise the caller says so.
    if items.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(items, count) } }
}

/// A topic as the cluster describes it.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: String,
    /// Empty where the broker has none.
    pub(super) id: String,
    pub(super) internal: bool,
    pub(super) partitions: Vec<u32>,
    pub(super) error: Option<Failure>,
}

const NO_TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Asks for the ids and partitions of topics.
pub(super) fn ask_topics(native: &Arc<Native>, names: &[String], wait: Duration) -> Asked<Vec<Described>> {
    let owned: Vec<CString> = names.iter().map(|name| c_string(name)).collect();
    let mut pointers: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
    let queue = Queue::new(native, 1);
    let options = Options::new(native, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, wait);
    // SAFETY: all arguments are alive for the call, which copies them.
    unsafe {
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(native.ptr(), topics, options.0, queue.queue);
        sys::rd_kafka_TopicCollection_destroy(topics);
    }
    Asked { queue, read: read_topics }
}

/// # Safety
/// The event is the answer to [`ask_topics`].
unsafe fn read_topics(event: *mut sys::rd_kafka_event_t) -> Vec<Described> {
    // SAFETY: the event is alive and of this kind; all it points to lives as long as it.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        each(topics, count).iter().map(|topic| read_topic(*topic)).collect()
    }
}

/// # Safety
/// The description is alive.
unsafe fn read_topic(topic: *const sys::rd_kafka_TopicDescription_t) -> Described {
    // SAFETY: the description is alive, and all it points to lives as long as it.
    unsafe {
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let mut count = 0;
        let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let number = |info: &*const _| u32::try_from(sys::rd_kafka_TopicPartitionInfo_partition(*info)).ok();
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let id = if id.is_null() { String::new() } else { text(sys::rd_kafka_Uuid_base64str(id)) };
        Described {
            name: text(sys::rd_kafka_TopicDescription_name(topic)),
            id: if id == NO_TOPIC_ID { String::new() } else { id },
            internal: sys::rd_kafka_TopicDescription_is_internal(topic) != 0,
            partitions: each(partitions, count).iter().filter_map(number).collect(),
            error: failure(error),
        }
    }
}

/// # Safety
/// Null, or an error that is alive.
unsafe fn failure(error: *const sys::rd_kafka_error_t) -> Option<Failure> {
    // SAFETY: the caller says so; null is asked for first.
    unsafe {
        if error.is_null() {
            return None;
        }
        let code = RDKafkaErrorCode::from(sys::rd_kafka_error_code(error));
        let text = text(sys::rd_kafka_error_string(error));
        (code != RDKafkaErrorCode::NoError).then_some(Failure { code, text })
    }
}

/// The question for where a log begins.
pub(super) const EARLIEST: i64 = -2;
/// The question for where a log ends.
pub(super) const LATEST: i64 = -1;

/// The answer to a question about offsets: one entry per partition.
pub(super) type Offsets = Vec<(At, Result<(), Failure>)>;

/// Asks for offsets: [`EARLIEST`], [`LATEST`], or of the first record at or after a time in milliseconds.
pub(super) fn ask_offsets(native: &Arc<Native>, entries: &[At], committed_only: bool, wait: Duration) -> Asked<Offsets> {
    let queue = Queue::new(native, 1);
    let options = Options::new(native, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, wait);
    let list = List::new(native, entries, "");
    let isolation = match committed_only {
        true => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
        false => sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
    };
    // SAFETY: all arguments are alive for the call, which copies them. An error of the option is ours to destroy.
    unsafe {
        let refused = sys::rd_kafka_AdminOptions_set_isolation_level(options.0, isolation);
        assert!(refused.is_null(), "ListOffsets takes an isolation level");
        sys::rd_kafka_ListOffsets(native.ptr(), list.0, options.0, queue.queue);
    }
    Asked { queue, read: read_offsets }
}

/// # Safety
/// The event is the answer to [`ask_offsets`].
unsafe fn read_offsets(event: *mut sys::rd_kafka_event_t) -> Offsets {
    // SAFETY: the event is alive and of this kind; all it points to lives as long as it.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event);
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let read = |info: &*const _| read_at(sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info));
        each(infos, count).iter().map(read).collect()
    }
}

/// Asks for the offsets that a group has committed; negative where it has none.
pub(super) fn ask_group(native: &Arc<Native>, group: &str, entries: &[At], wait: Duration) -> Asked<Result<Offsets, Failure>> {
    let queue = Queue::new(native, 1);
    let options = Options::new(native, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, wait);
    let (group, list) = (c_string(group), List::new(native, entries, ""));
    // SAFETY: all arguments are alive for the call, which copies them; the request is destroyed once.
    unsafe {
        let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list.0);
        sys::rd_kafka_ListConsumerGroupOffsets(native.ptr(), &raw mut request, 1, options.0, queue.queue);
        sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
    }
    Asked { queue, read: read_group }
}

/// # Safety
/// The event is the answer to [`ask_group`].
unsafe fn read_group(event: *mut sys::rd_kafka_event_t) -> Result<Offsets, Failure> {
    // SAFETY: the event is alive and of this kind; all it points to lives as long as it.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
        let mut count = 0;
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        read_group_results(each(groups, count))
    }
}

/// Stores offsets for a group, as a consumer without membership does.
pub(super) fn store_group(
    native: &Arc<Native>,
    group: &str,
    entries: &[At],
    metadata: &str,
    wait: Duration,
) -> Asked<Result<Offsets, Failure>> {
    let queue = Queue::new(native, 1);
    let options = Options::new(native, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, wait);
    let (group, list) = (c_string(group), List::new(native, entries, metadata));
    // SAFETY: as for `ask_group`.
    unsafe {
        let mut request = sys::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), list.0);
        sys::rd_kafka_AlterConsumerGroupOffsets(native.ptr(), &raw mut request, 1, options.0, queue.queue);
        sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
    }
    Asked { queue, read: read_stored }
}

/// # Safety
/// The event is the answer to [`store_group`].
unsafe fn read_stored(event: *mut sys::rd_kafka_event_t) -> Result<Offsets, Failure> {
    // SAFETY: the event is alive and of this kind; all it points to lives as long as it.
    unsafe {
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
        let mut count = 0;
        let groups = sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
        read_group_results(each(groups, count))
    }
}

/// # Safety
/// The results are alive.
unsafe fn read_group_results(groups: &[*const sys::rd_kafka_group_result_t]) -> Result<Offsets, Failure> {
    let mut offsets = Offsets::new();
    for group in groups {
        // SAFETY: the result is alive, and its list lives as long as it.
        unsafe {
            if let Some(failure) = failure(sys::rd_kafka_group_result_error(*group)) {
                return Err(failure);
            }
            let list = sys::rd_kafka_group_result_partitions(*group);
            if !list.is_null() {
                let count = usize::try_from((*list).cnt).unwrap_or(0);
                offsets.extend((0..count).map(|index| read_at((*list).elems.add(index))));
            }
        }
    }
    Ok(offsets)
}
