//! Bytes of requests whose rest has not come: how long a connection may keep them, and how many all may have together.
//!
//! [`Unfinished`] is a stream that knows where a unit ends: a request head of HTTP/1, a frame or header block of HTTP/2,
//! a TLS record. Once a unit has begun, its rest must come within a time limit. While it is unfinished, its bytes count
//! against the [`Budget`] of the listener. When that is used up, the connection with most of them is cut, the one that
//! came first among equals.
//!
//! Invariants: a unit that arrives in one piece costs no timer, and no lock unless it is larger than [`FREE`]; what a
//! stream holds is given back when it ends.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connections::Connections;
use super::framing::Framing;

/// The unfinished bytes of one stream that do not count, because every connection has a buffer of this size anyway.
const FREE: usize = 4 * 1024;

/// The budget for the unfinished bytes of all connections of a listener.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    next: u64,
    /// Largest last; of equal ones, the oldest last.
    by_size: BTreeMap<(usize, Reverse<u64>), Arc<Evicted>>,
}

/// Tells a connection that it is cut.
#[derive(Debug, Default)]
struct Evicted {
    is_set: AtomicBool,
    waker: AtomicWaker,
}

/// The bytes of one stream that count. Gives them back when it is dropped.
#[derive(Debug)]
struct Account {
    budget: Arc<Budget>,
    bytes: usize,
    /// Its place among streams of equal size, once it has counted bytes.
    place: Option<(Reverse<u64>, Arc<Evicted>)>,
}

/// A stream whose peer must finish what it has begun.
#[derive(Debug)]
pub(super) struct Unfinished<S> {
    stream: S,
    framing: Framing,
    account: Account,
    limit: Duration,
    /// Runs while a unit is unfinished.
    clock: Option<Pin<Box<Sleep>>>,
    connections: Connections,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: Mutex::default() })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        // Every change is small and complete, so a panic cannot leave it half done.
        work(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Account {
    fn set(&mut self, bytes: usize) {
        let bytes = bytes.saturating_sub(FREE);
        if bytes == self.bytes {
            return;
        }
        let (limit, before) = (self.budget.limit, std::mem::replace(&mut self.bytes, bytes));
        let place = &mut self.place;
        self.budget.with(|held| {
            let (number, evicted) = place.get_or_insert_with(|| {
                held.next += 1;
                (Reverse(held.next), Arc::default())
            });
            if before > 0 && held.by_size.remove(&(before, *number)).is_some() {
                held.bytes -= before;
            }
            if bytes > 0 && !evicted.is_set.load(Relaxed) {
                held.by_size.insert((bytes, *number), Arc::clone(evicted));
                held.bytes += bytes;
            }
            while held.bytes > limit
                && let Some(((most, _), evicted)) = held.by_size.pop_last()
            {
                held.bytes -= most;
                evicted.is_set.store(true, Relaxed);
                evicted.waker.wake();
            }
        });
        if bytes == 0 {
            self.place = None;
        }
    }

    /// Whether the connection is to be cut; if not, wakes the task when it is.
    fn is_evicted(&self, cx: &Context<'_>) -> bool {
        let Some((_, evicted)) = &self.place else { return false };
        evicted.waker.register(cx.waker());
        evicted.is_set.load(Relaxed)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl<S> Unfinished<S> {
    pub(super) fn new(
        stream: S,
        framing: Framing,
        budget: Arc<Budget>,
        limit: Duration,
        connections: Connections,
    ) -> Self {
        Self { stream, framing, account: Account { budget, bytes: 0, place: None }, limit, clock: None, connections }
    }

    /// From now on only the unfinished record counts.
    pub(super) fn handshake_is_over(&mut self) {
        self.framing.handshake_is_over();
        self.clock = None;
    }

    /// Notes what was read, or fails if the unit is late or its bytes are too many.
    fn watch(&mut self, read: &[u8], is_pending: bool, cx: &mut Context<'_>) -> io::Result<()> {
        let unfinished = self.framing.read(read);
        self.account.set(unfinished);
        if unfinished == 0 {
            self.clock = None;
            return Ok(());
        }
        if self.account.is_evicted(cx) {
            self.connections.note_eviction();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if is_pending {
            let limit = self.limit;
            let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(limit)));
            if clock.as_mut().poll(cx).is_ready() {
                self.connections.note_timeout();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unfinished<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        let new = into.filled().get(before..).unwrap_or_default();
        match (self.watch(new, read.is_pending(), cx), read) {
            (Err(cut), Poll::Ready(Ok(())) | Poll::Pending) => Poll::Ready(Err(cut)),
            (_, read) => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unfinished<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
