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

/// Bytes that may wait for the writer thread. With the batch being written, a sink holds at most twice as much.
const CAPACITY: usize = 1024 * 1024;
/// The writer thread does not wait for more lines once it has this many bytes.
const BATCH: usize = 64 * 1024;

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
    is_urgent: bool,
    is_closed: bool,
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

impl LineSink {
    /// Starts the writer thread. Lines reach `output` within about `delay`; `lost` counts those that do not.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(
        name: &str,
        output: impl Write + Send + 'static,
        delay: Duration,
        lost: IntCounter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { bytes: Vec::with_capacity(BATCH), ..Queue::default() }),
            changed: Condvar::new(),
            written: Condvar::new(),
            lost,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || of_thread.write_all_to(output, delay))?;
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

    /// The number of lines lost so far.
    pub fn lost(&self) -> &IntCounter {
        &self.0.0.lost
    }

    /// Waits until everything pushed so far is written, at most for `limit`. Returns whether it is. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        let shared = &*self.0.0;
        let mut queue = shared.lock();
        queue.is_urgent = true;
        shared.changed.notify_one();
        let waits = |queue: &mut Queue| queue.is_writing || !queue.bytes.is_empty();
        let waited = shared.written.wait_timeout_while(queue, limit, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread.
    fn write_all_to(&self, mut output: impl Write, delay: Duration) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.take(&mut batch, delay) {
            if output.write_all(&batch).and_then(|()| output.flush()).is_err() {
                // Some of the lines may have been written; count what may be missing. A full disk loses log lines, but
                // fails no requests.
                self.lost.inc_by(batch.iter().filter(|byte| **byte == b'\n').count() as u64);
            }
            batch.clear();
            self.lock().is_writing = false;
            self.written.notify_all();
        }
    }

    /// Waits for lines and moves them into `batch`. Returns `false` when there will be no more.
    fn take(&self, batch: &mut Vec<u8>, delay: Duration) -> bool {
        let idle = |queue: &mut Queue| queue.bytes.is_empty() && !queue.is_closed;
        let queue = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let collecting = |queue: &mut Queue| queue.bytes.len() < BATCH && !queue.is_urgent && !queue.is_closed;
        let waited = self.changed.wait_timeout_while(queue, delay, collecting);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut queue.bytes, batch);
        queue.is_urgent = false;
        queue.is_writing = !batch.is_empty();
        queue.is_writing
    }
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
        (LineSink::start("test", Gated { allowed, written }, Duration::ZERO, lost).unwrap(), allow, seen)
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
    fn the_last_handle_ends_the_thread_after_the_last_line() {
        let (sink, allow, seen) = gated();
        drop(allow);
        line(&sink, 10);
        drop(sink);
        assert_eq!(seen.iter().count(), 1, "the channel closes when the thread has ended");
    }
}
