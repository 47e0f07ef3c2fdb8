//! The rights of a client, and its daily count of questions.
//!
//! Invariant: rights are checked before any provider is called. To add a right: a field in `ClientConfig`, a line in
//! `config/default.toml`, and a check here.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::civil::Date;

use crate::domain::clock::Clock;
use crate::server::auth::client_config::ClientConfig;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::storage::LONGEST_LIFETIME;
use crate::storage::shared::ClientShare;
use crate::verify::Freshness;

/// What a client may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    no_cache: bool,
    longest_max_age: Option<Duration>,
    include_person: bool,
}

/// Counts one client's questions per day in China. A reload keeps the count.
#[derive(Debug)]
pub(in crate::server) struct Day {
    cap: Option<NonZeroU32>,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    day: Date,
    /// The clock's [`Clock::turns`] at the last question.
    turns: u32,
    questions: u32,
}

impl Rights {
    /// The rights configured in a client's section.
    pub(in crate::server) const fn of(config: &ClientConfig) -> Self {
        let ClientConfig { no_cache, longest_max_age, include_person, .. } = config;
        Self { no_cache: *no_cache, longest_max_age: *longest_max_age, include_person: *include_person }
    }

    /// In words, for operators.
    pub(in crate::server) fn words(self) -> Vec<String> {
        let age = self.longest_max_age.map(|age| format!("verdicts of at most {} s", age.as_secs()));
        let fresh = self.no_cache.then(|| "may force a call".to_owned());
        let person = self.include_person.then(|| "person fields".to_owned());
        [fresh, person, age].into_iter().flatten().collect()
    }

    /// All rights, for `anonymous`.
    pub(in crate::server) const ALL: Self = Self { no_cache: true, longest_max_age: None, include_person: true };

    /// The freshness that applies if this client asks for `asked`.
    ///
    /// # Errors
    /// `forbidden` if `asked` could force a call and the client has no right to that. `only-if-cached` never forces
    /// one.
    pub fn freshness(self, asked: Freshness) -> Result<Freshness, Refused> {
        // Cached answers are never older than this, so asking for it forces nothing.
        let harmless = self.longest_max_age.unwrap_or(LONGEST_LIFETIME);
        let forces = asked.no_cache || asked.max_age.is_some_and(|age| age < harmless);
        if forces && !asked.only_if_cached && !self.no_cache {
            let detail = format!(
                "`Cache-Control: no-cache`, and `max-age` below {} seconds, would force a call, which this client may \
                 not; leave it out, or have `no_cache = true` set in its section",
                harmless.as_secs()
            );
            return Err(refused("", "no_cache", &detail));
        }
        Ok(Freshness { oldest: self.longest_max_age, ..asked })
    }

    /// Checks whether an answer may contain the fields derived from the ID number.
    ///
    /// # Errors
    /// `forbidden` if the client asks for them but has no right to them.
    pub fn person(self, asked: bool) -> Result<(), Refused> {
        if asked && !self.include_person {
            let detail = "must be false or left out: this client may not have it; or have `include_person = true` set \
                          in its section";
            return Err(refused("/include_person", "include_person", detail));
        }
        Ok(())
    }
}

fn refused(pointer: &str, reason: &'static str, detail: &str) -> Refused {
    Box::new(Problem::new(Code::Forbidden).with_error(pointer, reason, detail))
}

impl Day {
    /// Continues the count of `before`, the instance that a reload replaces.
    pub(in crate::server) fn new(cap: Option<NonZeroU32>, before: Option<&Self>) -> Self {
        Self { cap, used: before.map(|before| Arc::clone(&before.used)).unwrap_or_default() }
    }

    /// The questions of today, and the cap. Without a cap nothing is counted.
    pub(in crate::server) fn used(&self, clock: &Clock) -> (u32, Option<u32>) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_today = used.day == clock.believed_date_in_china();
        (if is_today { used.questions } else { 0 }, self.cap.map(NonZeroU32::get))
    }

    /// Counts a question, with `share` against the cap of all replicas together.
    ///
    /// # Errors
    /// `rate_limited` until midnight in China, if the cap is reached.
    pub(in crate::server) fn count(&self, clock: &Clock, share: Option<&ClientShare>) -> Result<(), Refused> {
        let Some(cap) = self.cap else { return Ok(()) };
        let (today, turns) = (clock.believed_date_in_china(), clock.turns());
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Another date that is believed after a step is no new day: the count goes with it, until the next midnight.
        match used.turns == turns {
            true if today > used.day => *used = Used { day: today, turns, questions: 0 },
            true => {}
            false => (used.day, used.turns) = (today, turns),
        }
        let may_ask = match share {
            None => used.questions < cap.get(),
            Some(share) => share.may_ask(number_of(today), used.questions, cap),
        };
        if !may_ask {
            let detail = format!(
                "this client has asked the {cap} questions of its day (`daily_cap`); the next day begins at midnight \
                 in China"
            );
            let problem = Problem::new(Code::RateLimited).with_error("", "daily_cap", &detail);
            return Err(Box::new(problem.with_retry_after(clock.until_tomorrow_in_china())));
        }
        used.questions += 1;
        Ok(())
    }
}

/// A number for each date, greater than that of the day before.
fn number_of(day: Date) -> u32 {
    u32::from(day.year().unsigned_abs()) * 366 + u32::from(day.day_of_year().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn rights(no_cache: bool, longest_max_age: Option<Duration>) -> Rights {
        Rights { no_cache, longest_max_age, include_person: true }
    }

    fn at_most(age: Duration) -> Freshness {
        Freshness { max_age: Some(age), ..Freshness::default() }
    }

    #[test]
    fn nothing_forces_a_call_without_the_right_to() {
        let (none, no_cache) = (Freshness::default(), Freshness { no_cache: true, ..Freshness::default() });
        let may = |asked| rights(false, None).freshness(asked).is_ok();
        assert!(may(none) && may(at_most(LONGEST_LIFETIME)) && may(at_most(Duration::MAX)));
        for asked in [no_cache, at_most(Duration::ZERO), at_most(LONGEST_LIFETIME - MINUTE)] {
            assert!(!may(asked), "{asked:?}");
            assert!(may(Freshness { only_if_cached: true, ..asked }), "{asked:?} never calls");
            assert!(rights(true, None).freshness(asked).is_ok());
        }
        // Asking for an age that the client gets anyway forces nothing.
        let capped = |age| rights(false, Some(MINUTE)).freshness(at_most(age)).is_ok();
        assert!(capped(MINUTE) && !capped(MINUTE - Duration::from_secs(1)));
    }

    #[test]
    fn whoever_asks_for_older_answers_than_it_may_have_gets_no_older_ones() {
        for asked in [Freshness::default(), at_most(60 * MINUTE), at_most(MINUTE)] {
            let given = rights(true, Some(MINUTE)).freshness(asked).unwrap();
            assert!(given.accepts(MINUTE) && !given.accepts(MINUTE + Duration::from_millis(1)), "{asked:?}");
        }
        assert!(!rights(true, Some(MINUTE)).freshness(at_most(Duration::ZERO)).unwrap().accepts(MINUTE));
    }

    #[test]
    fn a_day_has_so_many_questions_and_begins_at_midnight_in_china() {
        let at = |text: &str| Clock::fixed(text.parse().unwrap());
        let day = Day::new(NonZeroU32::new(2), None);
        let evening = at("2026-11-25T15:59:00Z");
        assert!(day.count(&evening, None).is_ok() && day.count(&evening, None).is_ok());
        let refused = serde_json::to_value(&*day.count(&evening, None).unwrap_err()).unwrap();
        assert_eq!((&refused["code"], &refused["retry_after_seconds"]), (&"rate_limited".into(), &60.into()));
        assert_eq!(refused["errors"][0]["reason"], "daily_cap");
        // A reload may change the cap but keeps the count.
        let (narrow, wide) = (Day::new(NonZeroU32::new(1), Some(&day)), Day::new(NonZeroU32::new(3), Some(&day)));
        assert!(
            narrow.count(&evening, None).is_err()
                && wide.count(&evening, None).is_ok()
                && wide.count(&evening, None).is_err()
        );
        assert!(day.count(&at("2026-11-25T16:00:00Z"), None).is_ok());
    }

    #[test]
    fn a_step_of_the_clock_gives_no_second_day_and_takes_no_week() {
        let (hours, wrong) = (Arc::new(AtomicI64::new(30 * 24)), Arc::new(AtomicI64::new(0)));
        let (now, monotonic, ahead) = (Arc::clone(&hours), Arc::clone(&hours), Arc::clone(&wrong));
        let hour = |hours: i64| jiff::SignedDuration::from_hours(hours);
        let clock = Clock::watched(
            move || jiff::Timestamp::UNIX_EPOCH + hour(now.load(SeqCst) + ahead.load(SeqCst)),
            move || hour(monotonic.load(SeqCst)).unsigned_abs(),
        );
        // The clock runs rightly for a day first, from midnight in China (16:00 UTC) to ten in the morning.
        hours.fetch_add(16 + 10, SeqCst);
        let day = Day::new(NonZeroU32::new(2), None);
        assert!(day.count(&clock, None).is_ok() && day.count(&clock, None).is_ok() && day.count(&clock, None).is_err());
        for step in [24, -24, 40 * 24, -40 * 24] {
            wrong.store(step, SeqCst);
            assert!(day.count(&clock, None).is_err(), "{step}: a wrong date");
            wrong.store(0, SeqCst);
            assert!(day.count(&clock, None).is_err(), "{step}: the right one");
        }
        // A step that is believed after an hour takes the count with it.
        for step in [40 * 24, 0] {
            wrong.store(step, SeqCst);
            assert!(day.count(&clock, None).is_err());
            hours.fetch_add(1, SeqCst);
            assert!(day.count(&clock, None).is_err(), "{step}");
        }
        assert_eq!(clock.turns(), 2);
        hours.fetch_add(12, SeqCst);
        assert!(day.count(&clock, None).is_ok(), "the next midnight");
    }
}
