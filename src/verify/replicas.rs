//! What the other replicas do for a flight: they may know the verdict, be calling already, or have to be told.
//!
//! Only the flight's task asks them, so that a thousand equal questions are one conversation for each replica. All of it
//! may fail, and then this replica calls alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::account::Account;
use super::enumeration;
use super::landing::Landing;
use super::question::{FailureKind, Freshness, Question};
use crate::domain::clock::Clock;
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;
use crate::resilience::budget::Budget;
use crate::storage::shared::{
    Away, Booking, Ending, Lease, Look, Patience, Place, Refusal, Role, Shared, Told, Tried, Wanted,
};
use crate::storage::{Cache, Remembered, Sharing};

/// How long a call waits for its turn in the part of an account's rate that is this replica's.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What the other replicas do for the flights of one configuration.
#[derive(Debug, Clone)]
pub(super) struct Replicas {
    pub(super) shared: Shared,
    /// Longer than the longest flight.
    lease: Duration,
    sharing: Sharing,
    /// The rates of accounts while Redis is away: what this replica may use of each.
    slices: Arc<Mutex<HashMap<Arc<str>, Instant>>>,
    /// The extra attempts while Redis is away.
    extra: Arc<Budget>,
    extra_per_minute: u32,
}

/// How a flight goes on.
#[derive(Debug)]
pub(super) enum Turn {
    /// Call; the others wait for us if there is a lease.
    Lead(Lead),
    /// Somebody had been told, with the remaining lifetime.
    Known(Remembered, Duration),
    /// The call of another replica brought a verdict, in this flight.
    Answered(Remembered, Uuid),
    /// An earlier call of another replica may yet be billed, so nobody asks again for a while.
    Recalled { kind: FailureKind, left: Duration },
    /// The call of another replica failed, in this flight.
    Failed { kind: FailureKind, retry: Option<Duration>, may_be_billed: bool, flight: Uuid },
    /// The name was one too many; wait so long.
    Refused(Duration),
}

/// The lease of a flight. If it is dropped, the others no longer wait.
#[derive(Debug)]
pub(super) struct Lead {
    shared: Shared,
    /// And when it was asked for.
    lease: Option<(Lease, Instant)>,
}

/// A name that its client had not tried here before. Whether the other replicas grant it is heard once, with the question
/// itself if that has to be asked.
#[derive(Debug)]
pub(super) struct Trial {
    tried: Tried,
    heard: OnceLock<Result<(), Duration>>,
}

/// What a flight wants to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) question: &'a Question,
    pub(super) person: Digest,
    /// The key of its policy.
    pub(super) policy: &'a str,
    pub(super) cache: &'a Cache,
    pub(super) clock: &'a Clock,
    /// Whether a paid call can be recorded.
    pub(super) may_lead: bool,
    pub(super) flight: Option<Uuid>,
}

impl Replicas {
    /// `work` is the longest that a flight takes.
    pub(super) fn new(
        shared: &Shared,
        work: Duration,
        sharing: Sharing,
        extra_per_minute: u32,
        before: Option<&Self>,
    ) -> Self {
        Self {
            shared: shared.clone(),
            // A lease that ended under its owner would cost a second call.
            lease: work + Duration::from_secs(2),
            sharing,
            slices: before.map(|before| Arc::clone(&before.slices)).unwrap_or_default(),
            extra: Arc::new(Budget::new(extra_per_minute / shared.most())),
            extra_per_minute,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.shared.is_on()
    }

    /// Whether another replica has been told a verdict that will do.
    pub(super) async fn look(&self, asked: Asked<'_>) -> Option<(Remembered, Duration)> {
        let wanted = Wanted { recalls: false, ..self.wanted(&Asked { may_lead: false, ..asked }) };
        match self.shared.look(&wanted, &asked.question.for_replicas).await {
            Ok(Look::Known(found)) => self.known(found, &asked),
            _ => None,
        }
    }

    /// Asks the others, and waits for the one that calls.
    pub(super) async fn ask(&self, asked: Asked<'_>, trial: Option<&Trial>, patience: &Patience) -> Turn {
        let wanted = self.wanted(&asked);
        let since = Instant::now();
        let lead = |lease: Option<Lease>| {
            let lease = lease.map(|lease| (lease, since));
            Turn::Lead(Lead { shared: self.shared.clone(), lease })
        };
        let alone = || {
            self.shared.count(Role::Alone);
            // An answer that was lost on the way may have been the lease.
            lead(self.shared.presumed(&wanted))
        };
        let mut trial = trial.filter(|trial| trial.heard.get().is_none());
        loop {
            let tried = trial.take();
            let look = self.shared.converse(&wanted, tried.map(|trial| &trial.tried), patience).await;
            if let Some(trial) = tried {
                // While Redis is away the local count was enough.
                let heard = if let Ok(Look::Refused(wait, _)) = &look { Err(*wait) } else { Ok(()) };
                let _ = trial.heard.set(heard);
            }
            match look {
                Ok(Look::Known(found)) => match self.known(found, &asked) {
                    Some((found, left)) => {
                        self.shared.count(Role::Known);
                        return Turn::Known(found, left);
                    }
                    // It has lapsed on the way.
                    None => return alone(),
                },
                Ok(Look::Mine(lease)) => {
                    self.shared.count(Role::Led);
                    return lead(Some(lease));
                }
                Ok(Look::Ended(Ending::Verdict(found), flight)) => {
                    self.shared.count(Role::Joined);
                    return Turn::Answered(found, flight);
                }
                Ok(Look::Ended(Ending::Failed { kind, retry, client, may_be_billed }, flight)) => {
                    let kind = kind_of(kind);
                    let is_ours = client == self.name_of(&asked.question.client);
                    // What says nothing about this replica or this caller: ask anew.
                    if matches!(kind, FailureKind::Internal | FailureKind::LedgerUnavailable)
                        || (kind == FailureKind::BudgetExhausted && !is_ours)
                    {
                        continue;
                    }
                    self.shared.count(Role::Joined);
                    let retry = Some(retry).filter(|retry| !retry.is_zero());
                    return Turn::Failed { kind, retry, may_be_billed, flight };
                }
                Ok(Look::Refused(wait, lease)) => {
                    // Anyone who asks about the same person meanwhile leads instead.
                    drop(lead(lease));
                    return Turn::Refused(wait);
                }
                Ok(Look::Unanswered { kind, left }) => {
                    self.shared.count(Role::Known);
                    return Turn::Recalled { kind: kind_of(kind), left };
                }
                Ok(Look::Nothing | Look::Waits) | Err(Away) => return alone(),
            }
        }
    }

    /// Books a call with all replicas together, or with this one's share of it while Redis is away.
    pub(super) async fn book(
        &self,
        account: &Account,
        person: Digest,
        is_extra: bool,
        patience: &Patience,
    ) -> Result<(), Refusal> {
        let holds = account.holds.config();
        let booking = Booking {
            person,
            provider: &account.name,
            calls: holds.calls,
            window: holds.window,
            per_second: account.rate_limit,
            burst: account.rate_limit,
            extra: is_extra.then_some(self.extra_per_minute),
        };
        if let Ok(booked) = self.shared.admit(&booking, patience).await {
            self.slices().remove(&account.name);
            return booked;
        }
        let begins = self.book_alone(account, is_extra)?;
        tokio::time::sleep_until(begins).await;
        Ok(())
    }

    /// A name that `client` tries for a number.
    pub(super) fn trial(
        &self,
        person: Digest,
        number: Digest,
        client: &str,
        guard: &enumeration::Config,
    ) -> Arc<Trial> {
        let [.., a, b, c, d, e, f, g, h] = *person.as_bytes();
        let tried = Tried {
            number: number.half().into_bytes(),
            client: self.name_of(client),
            name: [a, b, c, d, e, f, g, h],
            most: guard.names_per_number,
            window: guard.window,
        };
        Arc::new(Trial { tried, heard: OnceLock::new() })
    }

    /// Whether the other replicas grant it, or how long to wait. While Redis is away the local count was enough.
    pub(super) async fn grant(&self, trial: &Trial, patience: &Patience) -> Result<(), Duration> {
        match trial.heard.get() {
            Some(heard) => *heard,
            None => self.shared.try_name(&trial.tried, patience).await.unwrap_or(Ok(())),
        }
    }

    /// Books a call in this replica's part of the rate, and returns when it may begin: those that come at once follow each
    /// other, because refusing them would fail requests that Redis would have let pass.
    fn book_alone(&self, account: &Account, is_extra: bool) -> Result<Instant, Refusal> {
        let now = Instant::now();
        let step = Duration::from_secs(self.shared.most().into()) / account.rate_limit.get();
        let mut slices = self.slices();
        // Begun empty: what was there may have been used by others a moment ago.
        let next = slices.entry(Arc::clone(&account.name)).or_insert_with(|| now + step);
        let begins = (*next).max(now);
        let wait = begins.saturating_duration_since(now);
        if wait > LONGEST_WAIT {
            return Err(Refusal::Rate(wait));
        }
        if is_extra && !self.extra.try_take(now) {
            return Err(Refusal::Extra);
        }
        *next = begins + step;
        Ok(begins)
    }

    fn slices(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        // Every change is a single one.
        self.slices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, found: Remembered, asked: &Asked<'_>) -> Option<(Remembered, Duration)> {
        let age = found.age(asked.clock.monotonic());
        let left = asked.cache.lifetime(found.verdict).checked_sub(age).filter(|left| !left.is_zero())?;
        asked.question.freshness.accepts(age).then_some((found, left))
    }

    fn wanted(&self, asked: &Asked<'_>) -> Wanted {
        let now = asked.clock.now().as_millisecond();
        let Freshness { no_cache, max_age, oldest, only_if_cached: _ } = asked.question.freshness;
        let oldest_ms = Verdict::ALL.map(|verdict| {
            let lifetime = asked.cache.lifetime(verdict);
            let most = [max_age, oldest].into_iter().flatten().fold(lifetime, Duration::min);
            let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX);
            (!no_cache && !lifetime.is_zero()).then(|| now.saturating_sub(most))
        });
        Wanted {
            place: self.place(asked.person, asked.policy, &asked.question.client),
            oldest_ms,
            lease: self.lease,
            may_lead: asked.may_lead,
            recalls: !no_cache,
            flight: asked.flight.unwrap_or_else(|| self.shared.new_flight()),
        }
    }

    fn place(&self, person: Digest, policy: &str, client: &str) -> Place {
        let owner = if self.sharing == Sharing::PerClient { client } else { "" };
        self.shared.place(person, policy, owner)
    }

    /// A client's name as the other replicas see it.
    pub(super) fn name_of(&self, client: &str) -> [u8; 8] {
        self.shared.name("client/v1", client)
    }

    /// The longest that a call may be under way.
    pub(super) const fn longest(&self) -> Duration {
        self.lease
    }
}

impl Lead {
    /// Nobody waits for us.
    pub(super) const fn nobody() -> Self {
        Self { shared: Shared::OFF, lease: None }
    }

    pub(super) fn lease(&self) -> Option<(Shared, Lease)> {
        Some((self.shared.clone(), self.lease?.0))
    }

    /// Tells the others a verdict while it is written down; only if nobody can have taken the lease over, so that none
    /// stays in its place.
    pub(super) fn land_meanwhile(
        &mut self,
        (verdict, life): (&Remembered, Duration),
        patience: &Patience,
        tasks: &TaskTracker,
    ) -> Option<Landing> {
        let takeover = self.shared.takeover();
        let is_sure = |(lease, since): &mut (Lease, Instant)| lease.is_granted() && since.elapsed() < takeover;
        let (lease, _) = self.lease.take_if(|leased| is_sure(leased) && !patience.is_over())?;
        let landing = Landing::within(patience.left());
        let (shared, verdict, patience, ends) =
            (self.shared.clone(), verdict.clone(), patience.clone(), landing.clone());
        tasks.spawn(async move {
            // If Redis is away, this replica remembers it.
            let _ = shared.land(&lease, Told::Verdict(&verdict, life), &patience).await;
            ends.end();
        });
        Some(landing)
    }

    /// Tells the others, before this replica's callers hear it. Returns another replica's verdict that stays in place of
    /// ours.
    pub(super) async fn land(mut self, told: Told<'_>, patience: &Patience) -> Option<Remembered> {
        let (lease, _) = self.lease.take()?;
        if patience.is_over() {
            self.shared.land_behind(&lease, told);
            return None;
        }
        // If Redis is away, this replica remembers it.
        Box::pin(self.shared.land(&lease, told, patience)).await.ok()?.stays
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some((lease, _)) = self.lease.take() {
            let retry = Duration::ZERO;
            let kind = byte_of(FailureKind::Internal);
            let told = Told::Failed { kind, retry, client: [0; 8], may_be_billed: true, again: None };
            self.shared.land_behind(&lease, told);
        }
    }
}

/// The kinds of failure with which a flight can end, by their number in Redis; 0 is a verdict.
const KINDS: [FailureKind; 9] = [
    FailureKind::Internal,
    FailureKind::UnsupportedDocument,
    FailureKind::RejectedByProvider,
    FailureKind::SubjectThrottled,
    FailureKind::NoProviderAvailable,
    FailureKind::ProviderFailure,
    FailureKind::OutcomeUnknown,
    FailureKind::BudgetExhausted,
    FailureKind::LedgerUnavailable,
];

pub(super) fn byte_of(kind: FailureKind) -> u8 {
    let index = KINDS.iter().position(|one| *one == kind).unwrap_or_default();
    u8::try_from(index + 1).unwrap_or(1)
}

fn kind_of(byte: u8) -> FailureKind {
    let index = usize::from(byte).checked_sub(1);
    index.and_then(|index| KINDS.get(index).copied()).unwrap_or(FailureKind::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_failure_comes_back_and_an_unknown_one_is_asked_anew() {
        assert!(KINDS.iter().all(|kind| kind_of(byte_of(*kind)) == *kind && byte_of(*kind) != 0));
        assert_eq!([kind_of(0), kind_of(200)], [FailureKind::Internal; 2]);
    }
}
