use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::*;

/// Flights whose tasks a test can abort; counts how often work was started.
#[derive(Default)]
struct Tower {
    flights: Flights<u8, (), u32>,
    tracker: TaskTracker,
    starts: AtomicUsize,
    last: Mutex<Option<JoinHandle<()>>>,
}

impl Tower {
    fn ask<W: Future<Output = u32> + Send + 'static>(&self, work: W) -> (Role, Flight<(), u32>) {
        let spawn = |task| *self.last.lock().unwrap() = Some(self.tracker.spawn(task));
        self.flights.join_or_start(1, spawn, |()| {
            self.starts.fetch_add(1, Relaxed);
            work
        })
    }

    fn abort(&self) {
        self.last.lock().unwrap().take().unwrap().abort();
    }
}

async fn slow() -> u32 {
    sleep(Duration::from_secs(1)).await;
    42
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_the_others_join_and_the_work_is_done_once() {
    let tower = Tower::default();
    let asked: Vec<_> = (0..1000).map(|_| tower.ask(slow())).collect();
    assert_eq!(asked.iter().filter(|(role, _)| *role == Role::Leader).count(), 1);
    assert_eq!(tower.flights.len(), 1);
    let results = join_all(asked.into_iter().map(|(_, flight)| async move { flight.wait().await })).await;
    assert!(results.iter().all(|&result| result == Ok(42)));
    tower.tracker.close();
    tower.tracker.wait().await;
    assert!(tower.flights.is_empty());
    assert_eq!(tower.starts.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn s06_the_leader_leaving_kills_nobody() {
    let tower = Tower::default();
    let (_, leader) = tower.ask(slow());
    let (_, joiner) = tower.ask(slow());
    assert!(timeout(Duration::from_millis(1), leader.wait()).await.is_err());
    assert_eq!(joiner.wait().await, Ok(42));
    assert_eq!(tower.starts.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn s07_whoever_leaves_the_key_stays_until_the_work_has_ended() {
    let tower = Tower::default();
    let mut chance = fastrand::Rng::with_seed(7);
    let mut waiters = Vec::new();
    for _ in 0..200 {
        let (_, flight) = tower.ask(slow());
        waiters.push(Box::pin(timeout(Duration::from_millis(chance.u64(0..3)), async move { flight.wait().await })));
        if chance.bool() {
            drop(waiters.swap_remove(chance.usize(..waiters.len())));
        }
    }
    join_all(waiters).await;
    assert_eq!(tower.flights.len(), 1);
    // Nobody is waiting any more, but the next caller still joins.
    let (role, flight) = tower.ask(slow());
    assert_eq!((role, async move { flight.wait().await }.await), (Role::Joined, Ok(42)));
    assert_eq!(tower.starts.into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn s08_aborted_work_is_lost_for_all_and_started_again_by_nobody() {
    let tower = Tower::default();
    let flights = [tower.ask(slow()).1, tower.ask(slow()).1];
    yield_now().await;
    tower.abort();
    for flight in flights {
        assert_eq!(async move { flight.wait().await }.await, Err(Lost));
    }
    assert_eq!(tower.starts.load(Relaxed), 1);
    assert_eq!(tower.ask(slow()).0, Role::Leader);
}

#[tokio::test]
async fn panicking_work_is_lost_and_the_key_is_free_again() {
    let tower = Tower::default();
    let (_, flight) = tower.ask(async { panic!("synthetic") });
    assert_eq!(async move { flight.wait().await }.await, Err(Lost));
    assert!(tower.flights.is_empty());
    assert_eq!(tower.ask(async { 7 }).1.wait().await, Ok(7));
}

#[tokio::test]
async fn a_task_that_is_never_run_is_lost_and_the_key_is_free_again() {
    let flights = Flights::<u8, (), u32>::new();
    let (_, flight) = flights.join_or_start(1, drop, |()| slow());
    assert_eq!(async move { flight.wait().await }.await, Err(Lost));
    assert!(flights.is_empty());
}

#[tokio::test]
async fn s09_waiters_use_no_processor_time() {
    let tower = Tower::default();
    let (end, ended) = oneshot::channel();
    let (_, leader) = tower.ask(async { ended.await.unwrap() });
    let polls = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..1000)
        .map(|_| {
            let (flight, polls) = (tower.ask(pending()).1, Arc::clone(&polls));
            tower.tracker.spawn(async move {
                let mut waiting = pin!(async move { flight.wait().await });
                poll_fn(|cx| {
                    polls.fetch_add(1, Relaxed);
                    waiting.as_mut().poll(cx)
                })
                .await
            })
        })
        .collect();
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(polls.load(Relaxed), 1000, "each is looked at once and then left alone");
    end.send(42).unwrap();
    assert!(join_all(waiters).await.into_iter().all(|result| result.unwrap() == Ok(42)));
    assert_eq!(leader.wait().await, Ok(42));
    assert_eq!(polls.load(Relaxed), 2000, "and once more for the result");
}

#[tokio::test(start_paused = true)]
async fn s10_a_slow_flight_never_admits_a_second() {
    let tower = Tower::default();
    let day = Duration::from_hours(24);
    let (_, flight) = tower.ask(async move {
        sleep(day).await;
        42
    });
    for _ in 0..100 {
        sleep(day / 101).await;
        assert_eq!(tower.ask(pending()).0, Role::Joined);
    }
    assert_eq!(async move { flight.wait().await }.await, Ok(42));
}

/// On drop, reports whether the key was still taken.
struct Witness(Flights<u8, (), u32>, Option<oneshot::Sender<bool>>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.1.take().unwrap().send(!self.0.is_empty()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_is_free_only_after_the_work_is_gone_however_it_ends() {
    for ending in ["returned", "panicked", "aborted"] {
        let tower = Tower::default();
        let (tell, told) = oneshot::channel();
        let witness = Witness(tower.flights.clone(), Some(tell));
        let (_, flight) = tower.ask(async move {
            let _witness = witness;
            sleep(Duration::from_secs(1)).await;
            assert_ne!(ending, "panicked");
            42
        });
        if ending == "aborted" {
            yield_now().await;
            tower.abort();
        }
        assert_eq!(async move { flight.wait().await }.await.is_ok(), ending == "returned");
        assert!(told.await.unwrap(), "{ending}");
    }
}

#[test]
fn a_thousand_callers_on_many_threads_start_the_work_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tower = Tower::default();
    let flights: Vec<_> = std::thread::scope(|threads| {
        let ask = || {
            let _inside = runtime.enter();
            (0..125).map(|_| tower.ask(async { 42 }).1).collect::<Vec<_>>()
        };
        let callers: Vec<_> = (0..8).map(|_| threads.spawn(ask)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let results = runtime.block_on(join_all(flights.iter().map(Flight::wait)));
    assert!(results.iter().all(|&result| result == Ok(42)));
    assert_eq!(tower.starts.into_inner(), 1);
}
