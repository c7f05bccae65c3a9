//! Questions to the cluster, asked without waiting, and their answers.

use super::{Failure, Native, Queue, c_string, event_failure, milliseconds, number, text};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// A question that was sent. Dropping it forgets the answer.
pub(in super::super) struct Asked<T> {
    queue: Queue,
    read: unsafe fn(*mut sys::rd_kafka_event_t) -> T,
}

impl<T> Asked<T> {
    /// The answer, if it comes within the time.
    pub(in super::super) fn poll(&mut self, wait: Duration) -> Option<Result<T, Failure>> {
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
pub(in super::super) struct At {
    pub(in super::super) topic: String,
    pub(in super::super) partition: u32,
    pub(in super::super) offset: i64,
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
pub(in super::super) struct Described {
    pub(in super::super) name: String,
    /// Empty where the broker has none.
    pub(in super::super) id: String,
    pub(in super::super) internal: bool,
    pub(in super::super) partitions: Vec<u32>,
    pub(in super::super) error: Option<Failure>,
}

const NO_TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Asks for the ids and partitions of topics.
pub(in super::super) fn ask_topics(native: &Arc<Native>, names: &[String], wait: Duration) -> Asked<Vec<Described>> {
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
pub(in super::super) const EARLIEST: i64 = -2;
/// The question for where a log ends.
pub(in super::super) const LATEST: i64 = -1;

/// The answer to a question about offsets: one entry per partition.
pub(in super::super) type Offsets = Vec<(At, Result<(), Failure>)>;

/// Asks for offsets: [`EARLIEST`], [`LATEST`], or of the first record at or after a time in milliseconds.
pub(in super::super) fn ask_offsets(
    native: &Arc<Native>,
    entries: &[At],
    committed_only: bool,
    wait: Duration,
) -> Asked<Offsets> {
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
///
/// # Panics
/// Where the client has no `group.id`: librdkafka 2.12 then follows a null pointer as soon as the coordinator is elsewhere
/// (`rd_kafka_handle_OffsetFetch` asks the client's own group to look for it), which on a new cluster is the first answer.
pub(in super::super) fn ask_group(
    native: &Arc<Native>,
    group: &str,
    entries: &[At],
    wait: Duration,
) -> Asked<Result<Offsets, Failure>> {
    assert!(native.has_group, "librdkafka crashes in a client without a group");
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
pub(in super::super) fn store_group(
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
