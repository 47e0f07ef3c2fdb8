//! How far a new process has restored from the ledger what the one before it knew: cached verdicts, holds, and who was
//! billed. [`super::warmer`] does the work; this survives reloads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use crate::domain::clock::Clock;
use crate::domain::subject::{Digest, Half};
use crate::storage::ledger::{Ledger, ReadError, Since};
use crate::storage::table::{Record, Table};

/// How many look-ups may run at the same time; the others wait, within their patience.
const MOST_LOOK_UPS: usize = 8;

/// How many people can be told apart from those that are not restored yet. 24 bytes each, until the restoring has ended;
/// the same for those forgotten since the start.
const MOST_PEOPLE: usize = 1_000_000;

/// How far the restoring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum WarmingState {
    /// There is no ledger: nothing is restored.
    Off,
    /// The ledger is being read. Until then, each question is looked up there.
    Running,
    /// More is recorded than is read at once: for as long as that matters, each question is looked up.
    LookingUp,
    Done,
}

/// What has been restored so far. Survives reloads.
#[derive(Debug)]
pub struct Warming {
    pub(super) ledger: Ledger,
    pub(super) clock: Clock,
    pub(super) is_on: bool,
    /// From where on the ledger matters.
    since: OnceCell<Option<Since>>,
    is_over: AtomicBool,
    /// Set if the reading ended at a bound: until then, each question is looked up.
    pub(super) looks_up_until: OnceLock<Instant>,
    people: Mutex<People>,
    pub(super) look_ups: Semaphore,
    pub(super) has_failed: AtomicBool,
    pub(super) verdicts: AtomicU64,
}

#[derive(Debug, Default)]
struct People {
    restored: Set,
    /// Those forgotten since the start: what is read of them may be older than that.
    forgotten: Set,
}

#[derive(Debug, Default)]
struct Set(Table<Person, 0>);

#[derive(Debug, Default)]
struct Person(Half);

impl Warming {
    /// Restores from `ledger` what is recorded under the current digest key.
    pub fn new(ledger: Ledger, clock: Clock) -> Self {
        let is_on = ledger.is_on();
        Self {
            ledger,
            clock,
            is_on,
            since: OnceCell::new(),
            is_over: AtomicBool::new(!is_on),
            looks_up_until: OnceLock::new(),
            people: Mutex::default(),
            look_ups: Semaphore::new(MOST_LOOK_UPS),
            has_failed: AtomicBool::new(false),
            verdicts: AtomicU64::new(0),
        }
    }

    /// How far it is, and how many verdicts were restored.
    pub fn progress(&self) -> (WarmingState, u64) {
        let state = match self.is_over() {
            _ if !self.is_on => WarmingState::Off,
            true => WarmingState::Done,
            false if self.looks_up_until.get().is_some() => WarmingState::LookingUp,
            false => WarmingState::Running,
        };
        (state, self.verdicts.load(Ordering::Relaxed))
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire) || self.looks_up_until.get().is_some_and(|until| Instant::now() >= *until)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.lock().restored = Set::default();
    }

    pub(super) async fn since(&self, reach: Duration) -> Result<Option<Since>, ReadError> {
        let reach = i64::try_from(reach.as_millis()).unwrap_or(i64::MAX);
        let from_ms = self.clock.now().as_millisecond().saturating_sub(reach);
        self.since.get_or_try_init(|| self.ledger.since(from_ms)).await.copied()
    }

    /// Whether nothing is restored of `person` yet; from now on something is.
    pub(super) fn claim(&self, person: Digest) -> bool {
        let mut people = self.lock();
        !people.forgotten.contains(&person) && people.restored.insert(&person)
    }

    pub(super) fn is_forgotten(&self, person: &Digest) -> bool {
        self.lock().forgotten.contains(person)
    }

    pub(super) fn is_restored(&self, person: &Digest) -> bool {
        let people = self.lock();
        people.restored.contains(person) || people.forgotten.contains(person)
    }

    /// Lets nothing that was recorded about `person` come back. Call it before the erasure.
    pub(super) fn forget(&self, person: Digest) {
        let mut people = self.lock();
        if self.is_on && people.forgotten.0.len() < MOST_PEOPLE {
            people.forgotten.insert(&person);
        }
    }

    /// Whether so many people were restored that no more can be told apart.
    pub(super) fn is_full(&self) -> bool {
        self.lock().restored.0.len() >= MOST_PEOPLE
    }

    fn lock(&self) -> MutexGuard<'_, People> {
        // Every change is a single insert, so a panic cannot leave the sets half changed.
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Set {
    fn contains(&self, person: &Digest) -> bool {
        let person = person.half();
        self.0.find(person.short(), |known| known.0 == person).is_some()
    }

    /// Returns whether it is new.
    fn insert(&mut self, person: &Digest) -> bool {
        let is_new = !self.contains(person);
        if is_new {
            self.0.insert(Person(person.half()), []);
        }
        is_new
    }
}

impl Record for Person {
    fn hash(&self) -> u32 {
        self.0.short()
    }
}
