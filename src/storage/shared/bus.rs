//! What replicas tell each other by pub/sub. A message is a hint: a replica that misses one looks again a little later.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::acknowledged::{Acknowledge, Acknowledged};
use super::place::Place;
use crate::domain::subject::Digest;

/// What another replica says, for the rest of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A verdict about this person was replaced by a newer one.
    Replaced(Digest),
    /// This person is to be forgotten, and their number. The sender waits to hear that it was done.
    Forgotten(Digest, Digest, Acknowledge),
    /// A provider was isolated or restored.
    Decided,
    /// Another replica looks for an entry that may still be in this one's spool.
    Hurry,
    /// Messages came faster than they were taken, and some are lost.
    Missed,
}

#[derive(Debug)]
pub(super) struct Bus {
    own: [u8; 8],
    waiting: Mutex<HashMap<Place, Arc<Notify>>>,
}

/// Woken when the call for its place ends elsewhere.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    bus: &'a Bus,
    place: Place,
    notify: Arc<Notify>,
}

impl Bus {
    pub(super) fn new(own: [u8; 8]) -> Self {
        Self { own, waiting: Mutex::default() }
    }

    /// Registers a wait. Do so before asking, or a message may be missed.
    pub(super) fn wait(&self, place: Place) -> Waiting<'_> {
        let notify = match self.lock().entry(place) {
            Entry::Occupied(waiting) => Arc::clone(waiting.get()),
            Entry::Vacant(free) => Arc::clone(free.insert(Arc::default())),
        };
        Waiting { bus: self, place, notify }
    }

    /// Takes one push of the connection; others than messages are not for us. Returns whether there was room for it.
    pub(super) fn hear(&self, push: &PushInfo, acknowledged: &Acknowledged, events: &mpsc::Sender<Event>) -> bool {
        if push.kind != PushKind::Message {
            return true;
        }
        let Some(Value::BulkString(message)) = push.data.get(1) else { return true };
        let event = self.read(message, acknowledged);
        // Nobody hears it at the very end of the process.
        event.is_none_or(|event| !matches!(events.try_send(event), Err(TrySendError::Full(_))))
    }

    fn read(&self, message: &[u8], acknowledged: &Acknowledged) -> Option<Event> {
        let (kind, rest) = message.split_first()?;
        match kind {
            b'Q' => {
                let (person, rest) = digest(rest)?;
                let (scope, token) = rest.split_first_chunk::<8>()?;
                if let Some(waiting) = self.lock().get(&Place { person, scope: *scope }) {
                    waiting.notify_one();
                }
                (!token.starts_with(&self.own)).then_some(Event::Replaced(person))
            }
            b'X' => {
                let (person, rest) = digest(rest)?;
                let (number, rest) = digest(rest)?;
                let what = *rest.first_chunk::<16>()?;
                (!what.starts_with(&self.own)).then_some(Event::Forgotten(person, number, Acknowledge(what)))
            }
            b'A' => {
                let (what, by) = rest.split_first_chunk::<16>()?;
                acknowledged.note(*what, *by.first_chunk::<8>()?);
                None
            }
            b'I' => Some(Event::Decided),
            b'M' => (*rest != self.own).then_some(Event::Hurry),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<Notify>>> {
        // If a holder panics, somebody looks again a little later than they could.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A question has one flight in a replica, so nobody else waits here.
        self.bus.lock().remove(&self.place);
    }
}

fn digest(bytes: &[u8]) -> Option<(Digest, &[u8])> {
    let (digest, rest) = bytes.split_first_chunk::<32>()?;
    Some((Digest::from_bytes(*digest), rest))
}
