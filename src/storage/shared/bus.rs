//! What replicas tell each other by pub/sub. A message is a hint: whoever misses one looks again a little later.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc};

use super::place::Place;
use crate::domain::subject::Digest;

/// What another replica says, for those who remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A verdict about this person was replaced by a newer one.
    Replaced(Digest),
    /// This person is to be forgotten, and their number.
    Forgotten(Digest, Digest),
    /// A provider was isolated or restored.
    Decided,
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

    /// Registers who waits. Do so before asking, or a message may be missed.
    pub(super) fn wait(&self, place: Place) -> Waiting<'_> {
        let notify = match self.lock().entry(place) {
            Entry::Occupied(waiting) => Arc::clone(waiting.get()),
            Entry::Vacant(free) => Arc::clone(free.insert(Arc::default())),
        };
        Waiting { bus: self, place, notify }
    }

    /// Takes one push of the connection; others than messages are not for us.
    pub(super) fn hear(&self, push: PushInfo, events: &mpsc::UnboundedSender<Event>) {
        if push.kind != PushKind::Message {
            return;
        }
        let Some(Value::BulkString(message)) = push.data.get(1) else { return };
        if let Some(event) = self.read(message) {
            // Nobody hears it at the very end of the process.
            let _ = events.send(event);
        }
    }

    fn read(&self, message: &[u8]) -> Option<Event> {
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
                let (number, sender) = digest(rest)?;
                (sender != self.own).then_some(Event::Forgotten(person, number))
            }
            b'I' => Some(Event::Decided),
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
