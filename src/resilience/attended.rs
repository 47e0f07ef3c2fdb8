//! Work that its caller drives while it waits, and that a task of its own finishes when the caller leaves.
//!
//! A task for each piece of work would be scheduled twice: once to run, and once more to wake the caller. Nearly every
//! caller stays until the end, so this costs nothing but the box in which the work already is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Completes when the work has ended, also by a panic, which the panic hook reports. If it is dropped before, the work
/// continues in a task; without a runtime, which is about to end then, it is dropped.
#[must_use = "work is waited for"]
pub struct Attended<F: Future<Output = ()> + Send + Unpin + 'static>(Option<F>);

impl<F: Future<Output = ()> + Send + Unpin + 'static> Attended<F> {
    pub fn new(work: F) -> Self {
        Self(Some(work))
    }
}

impl<F: Future<Output = ()> + Send + Unpin + 'static> Future for Attended<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(work) = &mut self.0
            && let Ok(Poll::Pending) = catch_unwind(AssertUnwindSafe(|| Pin::new(work).poll(context)))
        {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(())
    }
}

impl<F: Future<Output = ()> + Send + Unpin + 'static> Drop for Attended<F> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_stays_drives_the_work_itself() {
        let of_caller = tokio::task::try_id();
        let (tell, told) = oneshot::channel();
        let work = async move {
            sleep(SECOND).await;
            tell.send(tokio::task::try_id()).unwrap();
        };
        Attended::new(Box::pin(work)).await;
        assert_eq!(told.await.unwrap(), of_caller);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_at_any_time_stops_nothing() {
        for stays in [None, Some(Duration::ZERO), Some(SECOND / 2)] {
            let (tell, told) = oneshot::channel();
            let work = async move {
                sleep(SECOND).await;
                tell.send(()).unwrap();
            };
            let attended = Attended::new(Box::pin(work));
            match stays {
                None => drop(attended),
                Some(stays) => assert!(timeout(stays, attended).await.is_err()),
            }
            assert_eq!(told.await, Ok(()), "{stays:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_ends_the_work_and_not_the_caller() {
        let (kept, lost) = oneshot::channel::<()>();
        let work = async move {
            let _kept = kept;
            panic!("synthetic");
        };
        Attended::new(Box::pin(work)).await;
        assert!(lost.await.is_err(), "what the work owned is dropped");
    }

    #[test]
    fn without_a_runtime_the_work_is_dropped() {
        let (kept, mut lost) = oneshot::channel::<()>();
        drop(Attended::new(Box::pin(async move { drop(kept) })));
        assert!(lost.try_recv().is_err());
    }
}
