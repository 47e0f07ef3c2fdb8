//! A bounded queue of log lines with a writer thread of its own, so that an output which hangs (a stuck log shipper, a
//! FIFO that nobody reads, a slow disk) never delays a request.
//!
//! Invariants: [`LineSink::push`] never waits for the output; a line that does not fit is dropped and counted; the lock
//! is held only to copy bytes. Not `tracing-appender`: it allocates for each line and wakes its thread for each, which is
//! a system call per request.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::{IntCounter, Opts};
use tokio::time::Instant;

/// Bytes that may wait for the writer thread. With the batch being written, a sink holds at most twice as much.
const CAPACITY: usize = 1024 * 1024;
/// The writer thread does not wait for more lines once it has this many bytes.
const BATCH: usize = 64 * 1024;
/// How long after the first line that is left out the remark about all of them is written.
const REMARK_AFTER: Duration = Duration::from_secs(1);

/// A log output. Clones share it; the thread ends after the last one is dropped.
#[derive(Clone)]
pub struct LineSink(Arc<Handle>);

struct Handle(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Signals the writer thread.
    changed: Condvar,
    /// Signals those who wait in [`LineSink::flush`].
    written: Condvar,
    lost: IntCounter,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Whether the writer thread is writing lines that it has taken out.
    is_writing: bool,
    /// When the thread has to make the remark about lines that were left out.
    remark_at: Option<Instant>,
    /// How many lines these are.
    writing: u64,
    is_urgent: bool,
    is_closed: bool,
}

/// What the writer thread has taken out of the queue.
struct Taken {
    has_remark: bool,
}

/// The counter of lines that never reached the output `sink`.
///
/// # Errors
/// Never for a valid label value.
pub fn lost(sink: &str) -> io::Result<IntCounter> {
    let help = "Log lines that were dropped because the output was stuck, or that it failed to take.";
    let opts = Opts::new("idgate_log_lines_lost_total", help).const_label("sink", sink);
    IntCounter::with_opts(opts).map_err(io::Error::other)
}

/// The counter of lines that were left out on purpose, because too many came.
///
/// # Errors
/// Never for a valid label value.
pub fn left_out(sink: &str) -> io::Result<IntCounter> {
    let help = "Log lines that were left out, because a stranger or a fault caused too many a second.";
    let opts = Opts::new("idgate_log_lines_left_out_total", help).const_label("sink", sink);
    IntCounter::with_opts(opts).map_err(io::Error::other)
}

impl LineSink {
    /// Starts the writer thread. Lines reach `output` within about `delay`; `lost` counts those that do not. `remark`
    /// appends what [`LineSink::owe_remark`] asked for.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(
        name: &str,
        output: impl Write + Send + 'static,
        delay: Duration,
        lost: IntCounter,
        remark: impl FnMut(&mut Vec<u8>) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { bytes: Vec::with_capacity(BATCH), ..Queue::default() }),
            changed: Condvar::new(),
            written: Condvar::new(),
            lost,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || of_thread.write_all_to(output, delay, remark))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Appends what `write` writes, which should be one line. Drops it if the queue is full.
    pub fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.0.0;
        let mut queue = shared.lock();
        let before = queue.bytes.len();
        if before >= CAPACITY {
            shared.lost.inc();
            return;
        }
        write(&mut queue.bytes);
        // The thread sleeps without a timeout while there is nothing to write.
        let is_news = before == 0 || (before < BATCH && queue.bytes.len() >= BATCH);
        drop(queue);
        if is_news {
            shared.changed.notify_one();
        }
    }

    /// Has the thread make its remark within a second, and before the end of the process.
    pub fn owe_remark(&self) {
        let shared = &*self.0.0;
        let mut queue = shared.lock();
        if queue.remark_at.is_none() {
            queue.remark_at = Some(Instant::now() + REMARK_AFTER);
            drop(queue);
            shared.changed.notify_one();
        }
    }

    /// The number of lines lost so far.
    pub fn lost(&self) -> &IntCounter {
        &self.0.0.lost
    }

    /// Flushes for the last time: what is not written within `limit` is counted as lost. Returns whether all that was
    /// left was written; what was lost before is in the count. Blocks the thread.
    pub fn end(&self, limit: Duration) -> bool {
        let before = self.lost().get();
        if !self.flush(limit) {
            let queue = self.0.0.lock();
            self.lost().inc_by(lines(&queue.bytes) + queue.writing);
        }
        self.lost().get() == before
    }

    /// Waits until everything pushed so far is written, at most for `limit`. Returns whether it is. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        let shared = &*self.0.0;
        let mut queue = shared.lock();
        queue.is_urgent = true;
        shared.changed.notify_one();
        let waits = |queue: &mut Queue| queue.is_writing || !queue.bytes.is_empty() || queue.remark_at.is_some();
        let waited = shared.written.wait_timeout_while(queue, limit, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread.
    fn write_all_to(&self, mut output: impl Write, delay: Duration, mut remark: impl FnMut(&mut Vec<u8>)) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(Taken { has_remark }) = self.take(&mut batch, delay) {
            if has_remark {
                remark(&mut batch);
            }
            if output.write_all(&batch).and_then(|()| output.flush()).is_err() {
                // Some of the lines may have been written; count what may be missing. A full disk loses log lines, but
                // fails no requests.
                self.lost.inc_by(lines(&batch));
            }
            batch.clear();
            {
                let mut queue = self.lock();
                (queue.is_writing, queue.writing) = (false, 0);
            }
            self.written.notify_all();
        }
    }

    /// Waits for lines and moves them into `batch`. Returns `None` when there will be no more.
    fn take(&self, batch: &mut Vec<u8>, delay: Duration) -> Option<Taken> {
        let mut queue = self.lock();
        while queue.is_idle() {
            queue = match queue.remark_at {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let collecting = |queue: &mut Queue| (1..BATCH).contains(&queue.bytes.len()) && !queue.is_hurried();
        let waited = self.changed.wait_timeout_while(queue, delay, collecting);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut queue.bytes, batch);
        let is_due = queue.is_hurried() || queue.remark_at.is_some_and(|at| at <= Instant::now());
        let has_remark = is_due && queue.remark_at.take().is_some();
        queue.is_urgent = false;
        (queue.is_writing, queue.writing) = (!batch.is_empty() || has_remark, lines(batch));
        queue.is_writing.then_some(Taken { has_remark })
    }
}

impl Queue {
    /// Whether the thread has nothing to do yet.
    fn is_idle(&self) -> bool {
        let has_remark = self.remark_at.is_some_and(|at| self.is_urgent || at <= Instant::now());
        self.bytes.is_empty() && !has_remark && !self.is_closed
    }

    fn is_hurried(&self) -> bool {
        self.is_urgent || self.is_closed
    }
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl fmt::Debug for LineSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSink").field("lost", &self.0.0.lost.get()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Writes only as many times as it is allowed to; otherwise it hangs.
    struct Gated {
        allowed: mpsc::Receiver<io::Result<()>>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().unwrap_or(Ok(()))?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (LineSink, mpsc::Sender<io::Result<()>>, mpsc::Receiver<Vec<u8>>) {
        let ((allow, allowed), (written, seen)) = (mpsc::channel(), mpsc::channel());
        let lost = IntCounter::new("lost", "test").unwrap();
        let remark = |bytes: &mut Vec<u8>| bytes.extend_from_slice(b"some were left out\n");
        (LineSink::start("test", Gated { allowed, written }, Duration::ZERO, lost, remark).unwrap(), allow, seen)
    }

    fn line(sink: &LineSink, length: usize) {
        sink.push(|bytes| {
            bytes.resize(bytes.len() + length - 1, b'x');
            bytes.push(b'\n');
        });
    }

    #[test]
    fn a_hanging_output_never_blocks_and_what_does_not_fit_is_counted() {
        let (sink, allow, seen) = gated();
        line(&sink, 10);
        assert!(!sink.flush(Duration::from_millis(20)), "the output hangs");
        // The batch that hangs is out of the queue, so all of the capacity is free.
        for _ in 0..CAPACITY / 1024 + 3 {
            line(&sink, 1024);
        }
        assert_eq!(sink.lost().get(), 3);
        drop(allow);
        assert!(sink.flush(Duration::from_secs(60)));
        assert_eq!(seen.try_iter().map(|bytes| bytes.len()).sum::<usize>(), CAPACITY + 10);
        line(&sink, 10);
        assert!(sink.flush(Duration::from_secs(60)));
        assert_eq!(seen.try_iter().map(|bytes| bytes.len()).sum::<usize>(), 10);
    }

    #[test]
    fn lines_of_a_failed_write_are_counted_and_later_ones_are_written() {
        let (sink, allow, seen) = gated();
        line(&sink, 10);
        allow.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert!(sink.flush(Duration::from_secs(60)));
        assert_eq!((sink.lost().get(), seen.try_iter().count()), (1, 0));
        drop(allow);
        line(&sink, 10);
        assert!(sink.flush(Duration::from_secs(60)));
        assert_eq!((sink.lost().get(), seen.try_iter().count()), (1, 1));
    }

    #[test]
    fn an_end_is_judged_by_what_is_lost_in_it() {
        let (sink, allow, seen) = gated();
        line(&sink, 10);
        allow.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert!(sink.flush(Duration::from_secs(60)));
        allow.send(Ok(())).unwrap();
        line(&sink, 10);
        assert!(sink.end(Duration::from_secs(60)), "what was lost before is no loss at the end");
        assert_eq!((sink.lost().get(), seen.try_iter().count()), (1, 1));
        line(&sink, 10);
        assert!(!sink.end(Duration::from_millis(20)), "the output hangs");
    }

    #[test]
    fn what_fails_at_the_end_is_lost_in_it() {
        let (sink, allow, _seen) = gated();
        let until = |is: fn(&Queue) -> bool| {
            while !is(&sink.0.0.lock()) {
                thread::yield_now();
            }
        };
        line(&sink, 10);
        until(|queue| queue.is_writing);
        thread::scope(|scope| {
            let end = scope.spawn(|| sink.end(Duration::from_secs(60)));
            // Only then does it count as lost in the end.
            until(|queue| queue.is_urgent);
            allow.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
            assert!(!end.join().unwrap());
        });
    }

    #[test]
    fn the_last_handle_ends_the_thread_after_the_last_line() {
        let (sink, allow, seen) = gated();
        drop(allow);
        line(&sink, 10);
        drop(sink);
        assert_eq!(seen.iter().count(), 1, "the channel closes when the thread has ended");
    }

    #[test]
    fn a_remark_is_made_once_within_a_second_or_at_the_end() {
        let (sink, allow, seen) = gated();
        drop(allow);
        sink.owe_remark();
        sink.owe_remark();
        assert_eq!(seen.recv_timeout(Duration::from_secs(60)).unwrap(), b"some were left out\n");
        sink.owe_remark();
        assert!(sink.flush(Duration::from_secs(60)));
        sink.owe_remark();
        line(&sink, 10);
        drop(sink);
        let rest: Vec<u8> = seen.iter().flatten().collect();
        assert_eq!(rest, b"some were left out\nxxxxxxxxx\nsome were left out\n");
    }
}
