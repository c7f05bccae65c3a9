//! What only C can tell: how a child has ended and what it has used, and how quickly librdkafka alone hands out records.
//!
//! The only unsafe code of the benchmark.

#![allow(unsafe_code)]

use crate::failure::{Failure, Result};
use rdkafka::ClientConfig;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::types::RDKafkaType;
use rdkafka_sys as sys;
use std::ffi::CString;
use std::ptr;
use std::time::Instant;

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Exit {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Processor time of the child and of the children that it has waited for, user and system, in seconds.
    pub cpu_seconds: f64,
}

/// Asks whether a child has ended, and takes it off the system's list if so. Never waits.
pub fn ended(pid: u32) -> Result<Option<Exit>> {
    let pid = libc::pid_t::try_from(pid)?;
    let mut status = 0;
    // SAFETY: zeroes are a valid `rusage`; both pointers are alive for the call.
    let (answer, used) = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut used), used)
    };
    match answer {
        0 => Ok(None),
        _ if answer == pid => {
            let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
            Ok(Some(Exit { code, cpu_seconds: seconds(used.ru_utime) + seconds(used.ru_stime) }))
        }
        _ => Err(Failure::from(std::io::Error::last_os_error())),
    }
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// Sends a signal to a child that was not waited for.
pub fn signal(pid: u32, number: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: no memory is involved. The child is not reaped yet, so that the id is still its own.
        unsafe { libc::kill(pid, number) };
    }
}

/// Ticks of `/proc/PID/stat` in a second.
pub fn ticks_per_second() -> f64 {
    // SAFETY: no memory is involved.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// How many messages one call hands out.
const MESSAGES_MAX: usize = 10_000;

/// Reads `count` records of a topic from its beginning with librdkafka's batch call, all partitions through one queue, and
/// touches nothing but their lengths. Returns the records a second from the first batch to the last, without the first.
pub fn bare_rate(config: &ClientConfig, topic: &str, partitions: u32, count: u64) -> Result<f64> {
    let client =
        Client::new(config, config.create_native_config()?, RDKafkaType::RD_KAFKA_CONSUMER, DefaultClientContext)?;
    let name = CString::new(topic)?;
    // SAFETY: the client outlives topic and queue, which are destroyed before it, once each; every message that was handed out
    // is destroyed once, after its length was read, and its slot is inside of the vector.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        let topic = sys::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), ptr::null_mut());
        let partitions = i32::try_from(partitions)?;
        let started = (0..partitions).all(|at| sys::rd_kafka_consume_start_queue(topic, at, 0, queue) == 0);
        let read = if started { drain(queue, count) } else { Err(Failure::new("a partition cannot be read")) };
        for at in 0..partitions {
            sys::rd_kafka_consume_stop(topic, at);
        }
        sys::rd_kafka_topic_destroy(topic);
        sys::rd_kafka_queue_destroy(queue);
        read
    }
}

/// # Safety
///
/// The queue must be alive, and used by nobody else.
unsafe fn drain(queue: *mut sys::rd_kafka_queue_t, count: u64) -> Result<f64> {
    let mut slots = vec![ptr::null_mut::<sys::rd_kafka_message_t>(); MESSAGES_MAX];
    let (mut records, mut bytes, mut silent, mut first) = (0_u64, 0_u64, 0, None);
    while records < count {
        // SAFETY: as the caller promises; the slots are ours. The first call waits for one message, the second takes what is there.
        let taken = unsafe {
            let first = sys::rd_kafka_consume_batch_queue(queue, 1_000, slots.as_mut_ptr(), 1).max(0) as usize;
            let room = slots.as_mut_ptr().add(first);
            first + sys::rd_kafka_consume_batch_queue(queue, 0, room, (MESSAGES_MAX - 1) * first).max(0) as usize
        };
        silent = if taken == 0 { silent + 1 } else { 0 };
        if silent > 30 {
            return Err(Failure::new(format!("librdkafka handed out {records} of {count} records")));
        }
        for slot in &slots[..taken] {
            // SAFETY: librdkafka filled the slot with a message that is ours until it is destroyed, once, here.
            let (good, length) = unsafe {
                let (code, length) = ((**slot).err, (**slot).len);
                sys::rd_kafka_message_destroy(*slot);
                (code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, length)
            };
            if good {
                records += 1;
                bytes += length as u64;
            }
        }
        if records > 0 && first.is_none() {
            first = Some((Instant::now(), records));
        }
    }
    std::hint::black_box(bytes);
    let (began, first) = first.ok_or_else(|| Failure::new("nothing was asked for"))?;
    Ok((records - first) as f64 / began.elapsed().as_secs_f64())
}
