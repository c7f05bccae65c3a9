//! A producer at a fixed rate, on a thread of its own, that remembers when each record was sent.

use crate::broker::{Broker, partition_of};
use crate::failure::{Failure, Result};
use crate::rows::Rows;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often records are sent: all that are due.
const TICK: Duration = Duration::from_millis(1);

/// A producer at work.
pub struct Load {
    sent: Arc<Vec<AtomicU64>>,
    began: Instant,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Load {
    /// Sends rows from number 0 on, so many a second, until all are sent or [`Self::finish`] is called, by a producer with its
    /// default settings: librdkafka lets records linger for 5 ms, so that those of one moment share a request.
    pub fn start(broker: &Broker, topic: &str, partitions: u32, rows: Rows, per_second: f64) -> Result<Self> {
        let sent: Arc<Vec<AtomicU64>> = Arc::new((0..rows.count).map(|_| AtomicU64::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let producer = broker.producer(&[])?;
        let (began, topic) = (Instant::now(), topic.to_owned());
        let (times, stopped) = (sent.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let (mut n, mut value) = (0, Vec::new());
            while n < rows.count && !stopped.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * per_second) as u64;
                while n < due.min(rows.count) {
                    value.clear();
                    rows.json(n, &mut value);
                    if let Some(time) = times.get(usize::try_from(n)?) {
                        time.store(micros(began.elapsed()), Ordering::Release);
                    }
                    producer.send(&topic, partition_of(n, partitions), &value)?;
                    n += 1;
                }
                producer.poll();
                std::thread::park_timeout(TICK);
            }
            producer.finish()?;
            Ok(n)
        });
        Ok(Self { sent, began, stop, thread: Some(thread) })
    }

    /// Microseconds between the sending of a record and now.
    pub fn age(&self, n: u64) -> Option<u64> {
        let sent = self.sent.get(usize::try_from(n).ok()?)?.load(Ordering::Acquire);
        (sent > 0).then(|| micros(self.began.elapsed()).saturating_sub(sent))
    }

    /// Stops, waits until the broker has everything, and says how many records were sent.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until all records are sent.
    pub fn complete(mut self) -> Result<u64> {
        self.join()
    }

    fn join(&mut self) -> Result<u64> {
        let thread = self.thread.take().ok_or_else(|| Failure::new("the producer was waited for already"))?;
        thread.join().map_err(|_| Failure::new("the producer panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.is_some() {
            // Whoever drops it without asking has another failure to tell.
            let _ = self.join();
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
