//! Wipes the unused stack of workers.
//!
//! A wipe writes far more memory than a small request does. So a worker that was wiped a moment ago goes to sleep
//! unwiped, and is woken and wiped once the runtime has been idle for a while, or in any case after [`LONGEST`]. A worker
//! that never sleeps is wiped as often, by a task.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::memory::wipe_stack;

/// The least time between two wipes of a busy worker.
const PAUSE: Duration = Duration::from_millis(100);

/// How often [`StackWiper::run`] looks for workers that sleep unwiped.
const TICK: Duration = Duration::from_millis(500);

/// The longest time that a worker sleeps unwiped beside busy ones, or works without being wiped.
const LONGEST: Duration = Duration::from_secs(10);

/// How long a worker waits for the others. One that sleeps wakes in microseconds; a busy one takes a new task after some
/// dozens of its own.
const PATIENCE: Duration = Duration::from_millis(2);

thread_local! {
    static WORKER: Cell<Worker> = const { Cell::new(Worker { wiped: None, is_counted: false, must: false }) };
}

/// The stack of one worker.
#[derive(Clone, Copy)]
struct Worker {
    wiped: Option<Instant>,
    /// Whether it sleeps unwiped, and is part of [`StackWiper::unwiped`].
    is_counted: bool,
    /// Whether it must be wiped before it sleeps again.
    must: bool,
}

/// Wipes the stacks of the workers of one runtime.
#[derive(Debug, Default)]
pub(super) struct StackWiper {
    /// Number of workers whose stacks have not been wiped since they ran something.
    unwiped: AtomicUsize,
    /// Number of times that a worker went to sleep unwiped.
    skipped: AtomicU64,
}

impl StackWiper {
    /// For a worker that is about to sleep: wipes its stack, unless that was done a moment ago.
    pub(super) fn on_park(&self) {
        let now = Instant::now();
        let worker = WORKER.get();
        match worker.wiped {
            Some(wiped) if !worker.must && now.saturating_duration_since(wiped) < PAUSE => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                if !worker.is_counted {
                    self.unwiped.fetch_add(1, Ordering::Relaxed);
                    WORKER.set(Worker { is_counted: true, ..worker });
                }
            }
            _ => {
                wipe_stack();
                self.unwiped.fetch_sub(usize::from(worker.is_counted), Ordering::Relaxed);
                WORKER.set(Worker { wiped: Some(now), is_counted: false, must: false });
            }
        }
    }

    /// Wipes the workers that sleep unwiped, for as long as the runtime runs.
    pub(super) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        let (mut skipped, mut swept, mut worked) = (0, Instant::now(), busy_times());
        loop {
            ticks.tick().await;
            let now_skipped = self.skipped.load(Ordering::Relaxed);
            let idle = std::mem::replace(&mut skipped, now_skipped) == now_skipped;
            let (unwiped, is_due) = (self.unwiped.load(Ordering::Relaxed) > 0, swept.elapsed() >= LONGEST);
            if !(is_due || unwiped && idle) {
                continue;
            }
            // Who has worked so much may never have slept.
            let now_worked = busy_times();
            let never_sleeps =
                worked.iter().zip(&now_worked).any(|(before, now)| now.saturating_sub(*before) > LONGEST / 2);
            if unwiped || never_sleeps {
                self.sweep().await;
            }
            (swept, worked) = (Instant::now(), now_worked);
        }
    }

    /// Wipes every worker: at once below a task, and all of its stack when it goes to sleep again. A task cannot choose its
    /// worker, so each holds its own until all are awake.
    async fn sweep(&self) {
        let runtime = Handle::current();
        let workers = runtime.metrics().num_workers();
        let awake = Arc::new(AtomicUsize::new(0));
        let hold = move |awake: Arc<AtomicUsize>| async move {
            wipe_stack();
            WORKER.set(Worker { must: true, ..WORKER.get() });
            awake.fetch_add(1, Ordering::Relaxed);
            wait_for(&awake, workers);
        };
        // What a worker spawns, the others get only when they have nothing else to do. What another thread spawns, the
        // next one gets that is not held yet.
        let spawned = tokio::task::spawn_blocking(move || {
            let mut tasks = JoinSet::new();
            for number in 1..=workers {
                tasks.spawn_on(hold(Arc::clone(&awake)), &runtime);
                wait_for(&awake, number);
            }
            tasks
        });
        if let Ok(mut tasks) = spawned.await {
            while tasks.join_next().await.is_some() {}
        }
    }
}

/// Blocks the thread until so many workers are awake, at most for [`PATIENCE`].
fn wait_for(awake: &AtomicUsize, workers: usize) {
    let began = Instant::now();
    while awake.load(Ordering::Relaxed) < workers && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
}

/// How long each worker has worked so far.
fn busy_times() -> Vec<Duration> {
    let metrics = Handle::current().metrics();
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_worker_sleeps_unwiped_and_an_idle_runtime_has_no_unwiped_worker() {
        let wiper = Arc::new(StackWiper::default());
        let (on_park, run) = (Arc::clone(&wiper), Arc::clone(&wiper).run());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_time()
            .on_thread_park(move || on_park.on_park())
            .build()
            .unwrap();
        runtime.spawn(run);
        runtime.block_on(async {
            for _ in 0..100 {
                let tasks: Vec<_> =
                    (0..8).map(|_| runtime.spawn(tokio::time::sleep(Duration::from_millis(1)))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            }
            let skipped = wiper.skipped.load(Ordering::Relaxed);
            assert!(skipped > 10, "{skipped} of hundreds of times that a worker slept");
            assert!(wiper.unwiped.load(Ordering::Relaxed) > 0);
            let began = Instant::now();
            while wiper.unwiped.load(Ordering::Relaxed) > 0 {
                assert!(began.elapsed() < Duration::from_secs(60), "workers sleep unwiped");
                tokio::time::sleep(TICK).await;
            }
        });
    }
}
