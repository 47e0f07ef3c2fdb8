//! Keeps a fetched credential fresh. One task per provider does all the fetching.
//!
//! - It fetches at start, again [`LEAD`] before expiry, and whenever a provider refuses the credential.
//! - A call that finds no credential waits for the fetch in flight, and for nothing else.
//! - If a fetch fails, the current credential is used until it expires; the fetch is retried with backoff.
//!
//! Invariants: one fetch at a time; a caller that leaves does not cancel it. The task ends when its [`Keeper`] is
//! dropped. Shutdown does not wait for it, because nothing here is billed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::fetcher::Fetcher;
use super::in_use::{Held, InUse};
use crate::domain::clock::Clock;
use crate::domain::outcome::Reason;
use crate::providers::source::{Granted, Miss, Source};
use crate::resilience::backoff::Backoff;
use crate::verify::metrics::CredentialMeter;
use crate::verify::status::{AccountStatus, CredentialStatus};

/// How long before expiry a credential is replaced; half of its remaining life if that is shorter.
const LEAD: Duration = Duration::from_mins(15);
/// The minimum time between two fetches from a source that works.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
/// The pause after the first failed fetch; doubled after each further one, up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The longest sleep before the wall clock is read again: it may have been set, or the machine suspended.
const LONGEST_NAP: Duration = Duration::from_mins(1);

/// Keeps one provider's credential fresh until dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    desk: Arc<Desk>,
    fetcher: Arc<Fetcher>,
    _task: JoinSet<()>,
}

/// The state that the task shares with the callers.
#[derive(Debug)]
struct Desk {
    provider: Arc<str>,
    source: Arc<dyn Source>,
    in_use: Arc<InUse>,
    clock: Clock,
    /// Set when another keeper has taken over. Credentials that this one still fetches are discarded.
    retired: AtomicBool,
    /// The latest request for a fetch: the number of fetches that had ended then, plus one.
    wanted: watch::Sender<u64>,
    ended: watch::Sender<Ended>,
}

/// The last fetch.
#[derive(Debug, Clone)]
struct Ended {
    /// The number of fetches so far.
    count: u64,
    /// Why there is no credential; empty after a success.
    misses: Vec<Miss>,
    failed: bool,
    /// When it ended; before the first fetch, when the keeper was started.
    at: Instant,
    /// The time until the next fetch if this one failed; zero otherwise.
    pause: Duration,
}

impl Keeper {
    pub(super) fn start(
        provider: Arc<str>,
        source: Arc<dyn Source>,
        in_use: Arc<InUse>,
        fetcher: Arc<Fetcher>,
        meter: CredentialMeter,
    ) -> Self {
        let (high, low) = fetcher.ids.nonce().as_u64_pair();
        let ended = Ended { count: 0, misses: Vec::new(), failed: false, at: Instant::now(), pause: Duration::ZERO };
        let desk = Arc::new(Desk {
            provider,
            source,
            in_use,
            clock: fetcher.clock.clone(),
            retired: AtomicBool::new(false),
            wanted: watch::Sender::new(0),
            ended: watch::Sender::new(ended),
        });
        let mut task = JoinSet::new();
        task.spawn(keep(Arc::clone(&desk), Arc::clone(&fetcher), meter, Backoff::new(high ^ low)));
        Self { desk, fetcher, _task: task }
    }

    /// Stops this keeper from putting credentials into use. Callers may still wait for it.
    pub(super) fn retire(&self) {
        self.desk.retired.store(true, Ordering::SeqCst);
    }

    /// Whether this keeper uses the same source with the same outbound settings.
    pub(super) fn is_for(&self, source: &dyn Source, fetcher: &Fetcher) -> bool {
        self.desk.source.fingerprint() == source.fingerprint() && self.fetcher.goes_like(fetcher)
    }

    /// The credential for a new call: the one in use, or the one being fetched if it arrives within `patience`.
    pub(super) async fn held(&self, patience: Duration) -> Option<Arc<Held>> {
        let desk = &self.desk;
        let now = desk.clock.wall();
        match desk.in_use.load().filter(|held| held.is_good(now)) {
            Some(held) => {
                if desk.in_use.due_in(now).is_zero() && !desk.is_failing() {
                    desk.want();
                }
                Some(held)
            }
            None if desk.is_failing() => None,
            None => {
                desk.another(patience).await;
                desk.in_use.load().filter(|held| held.is_good(desk.clock.wall()))
            }
        }
    }

    /// A credential other than the refused one: its replacement if there already is one, or the result of one fetch.
    pub(super) async fn instead_of(&self, refused: &Arc<Held>, patience: Duration) -> Option<Arc<Held>> {
        let desk = &self.desk;
        let other = || desk.in_use.load().filter(|held| !Arc::ptr_eq(held, refused) && held.is_good(desk.clock.wall()));
        if let Some(other) = other() {
            return Some(other);
        }
        if desk.is_failing() {
            return None;
        }
        tracing::warn!(provider = &*desk.provider, "the fetched credential was refused; another one is fetched");
        desk.another(patience).await;
        other()
    }

    /// Fetches at once, even during a pause.
    pub(super) fn fetch_now(&self) {
        self.desk.want();
    }

    /// Set if there is no credential for a new call. Not set before the first fetch has ended.
    pub(super) fn lack(&self, now: Instant) -> Option<AccountStatus> {
        let desk = &self.desk;
        let ended = desk.ended.borrow();
        if ended.count == 0 || desk.in_use.load().is_some_and(|held| held.is_good(desk.clock.wall())) {
            return None;
        }
        let since = now.saturating_duration_since(ended.at);
        let retry_after = ended.pause.saturating_sub(since);
        Some(AccountStatus { reason: Reason::NoCredential, since, retry_after })
    }

    pub(super) fn status(&self) -> CredentialStatus {
        let desk = &self.desk;
        let held = desk.in_use.load().filter(|held| held.is_good(desk.clock.wall()));
        let left = |ends: Timestamp| Duration::try_from(ends.duration_since(desk.clock.wall())).ok();
        CredentialStatus {
            source: desk.source.name(),
            from: held.as_ref().and_then(|held| held.from),
            expires_in: held.and_then(|held| held.ends).and_then(left),
            misses: desk.ended.borrow().misses.clone(),
        }
    }
}

impl Desk {
    fn is_failing(&self) -> bool {
        self.ended.borrow().failed
    }

    /// Requests a fetch. One that is already in flight satisfies the request.
    fn want(&self) {
        let count = self.ended.borrow().count;
        self.wanted.send_if_modified(|wanted| {
            let more = *wanted <= count;
            *wanted = (*wanted).max(count + 1);
            more
        });
    }

    /// Requests a fetch and waits up to `patience` for its end.
    async fn another(&self, patience: Duration) {
        let mut ended = self.ended.subscribe();
        let count = ended.borrow_and_update().count;
        self.want();
        // A timeout needs no handling: the caller looks at the credential in use either way.
        let _ = timeout(patience, ended.wait_for(|ended| ended.count > count)).await;
    }

    /// Puts the result of a fetch into use and records it.
    fn conclude(&self, fetched: Result<Granted, Vec<Miss>>, meter: &CredentialMeter, backoff: &mut Backoff) {
        let provider = &*self.provider;
        let (misses, failed, pause) = match fetched {
            Ok(granted) => {
                backoff.reset();
                meter.successes.inc();
                meter.expiry.set(granted.ends.map_or(0, Timestamp::as_second));
                let now = self.clock.wall();
                let left = granted.ends.map(|ends| ends.duration_since(now));
                let (source, seconds) = (granted.from, left.map(|left| left.as_secs()));
                tracing::info!(provider, source, expires_in_seconds = seconds, "credential fetched");
                let due = left.map(|left| due(now, left, backoff.chance()));
                if !self.retired.load(Ordering::SeqCst) {
                    self.in_use.take(granted, due);
                }
                (Vec::new(), false, Duration::ZERO)
            }
            Err(misses) => {
                meter.failures.inc();
                let pause = backoff.next(FIRST_PAUSE, LONGEST_PAUSE, None);
                for Miss { source, reason, code } in &misses {
                    tracing::warn!(provider, source, reason = reason.as_str(), code, "no credential from this source");
                }
                let in_use = self.in_use.load().is_some_and(|held| held.is_good(self.clock.wall()));
                if in_use {
                    tracing::warn!(provider, "the credential could not be replaced; the one in use is used to its end");
                } else {
                    tracing::error!(provider, "there is no credential; the provider is passed over until there is one");
                }
                (misses, true, pause)
            }
        };
        self.ended.send_modify(|ended| {
            *ended = Ended { count: ended.count + 1, misses, failed, at: Instant::now(), pause };
        });
    }
}

async fn keep(desk: Arc<Desk>, fetcher: Arc<Fetcher>, meter: CredentialMeter, mut backoff: Backoff) {
    let mut wanted = desk.wanted.subscribe();
    // Once a source has worked, only that one is asked. Until then each fetch tries all of them.
    let mut kept = None;
    loop {
        let fetched = fetcher.fetch(desk.source.name(), desk.source.begin(kept)).await;
        kept = fetched.as_ref().map(|granted| granted.from).ok().or(kept);
        desk.conclude(fetched, &meter, &mut backoff);
        let Ended { count, failed, pause, at, .. } = desk.ended.borrow().clone();
        // Wait until the next fetch is due or requested.
        loop {
            let left = match desk.in_use.load() {
                _ if failed => pause.saturating_sub(at.elapsed()),
                Some(_) => desk.in_use.due_in(desk.clock.wall()),
                None => Duration::MAX,
            };
            if left.is_zero() || *wanted.borrow_and_update() > count {
                break;
            }
            tokio::select! {
                () = sleep(left.min(LONGEST_NAP)) => {}
                _ = wanted.changed() => {}
            }
        }
    }
}

/// When to replace a credential that is valid for `left`: [`LEAD`] before expiry (half of `left` if that is less),
/// delayed by a random part of up to a fifth of that lead, so that replicas do not all fetch at once. `SHORTEST_WAIT`
/// limits the fetches from a source that hands out the same credential again.
fn due(now: Timestamp, left: SignedDuration, chance: f64) -> Timestamp {
    let left = Duration::try_from(left).unwrap_or_default();
    let lead = LEAD.min(left / 2);
    let wait = left.saturating_sub(lead.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 5.0)).max(SHORTEST_WAIT);
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
