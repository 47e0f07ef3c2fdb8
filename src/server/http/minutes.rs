//! What the API has answered, by minute of the last day: questions, verdicts by provider, problems by code, durations.
//! For the console, which needs no Prometheus. Holds no person and no client.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::access_log::Line;
use super::code::Code;
use crate::domain::minutes::Ring;
use crate::domain::verdict::Verdict;
use crate::verify::Source;

/// How many providers have counters of their own; later ones share the last.
const PROVIDERS: usize = 9;
const VERDICTS: usize = Verdict::ALL.len();
/// Upper ends of durations, in milliseconds; longer ones are in one more.
const ENDS_MS: [u64; 15] = [1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000, 2000, 3000, 5000, 8000];

const QUESTIONS: usize = 0;
const SOURCES: usize = 1;
const DURATIONS: usize = SOURCES + 3;
const BY_PROVIDER: usize = DURATIONS + ENDS_MS.len() + 1;
const CODES: usize = BY_PROVIDER + PROVIDERS * VERDICTS;
const ALL: usize = CODES + Code::ALL.len();

/// The counters of the last day.
#[derive(Debug, Default)]
pub struct Minutes {
    ring: Ring<ALL>,
    /// Named in the order in which they first answered.
    providers: [OnceLock<Arc<str>>; PROVIDERS - 1],
}

/// What a span of minutes adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sum {
    /// Questions, whatever they came to.
    pub questions: u64,
    /// Answers by source: provider, shared, cache.
    pub by_source: [u64; 3],
    /// Providers with their verdicts: match, mismatch, no record.
    pub providers: Vec<(Arc<str>, [u64; VERDICTS])>,
    /// Problems, of questions and of other requests, the most frequent first.
    pub problems: Vec<(Code, u64)>,
    durations: Vec<u64>,
}

impl Minutes {
    pub(in crate::server) fn count(&self, line: &Line<'_>, total: Duration) {
        let minute = line.time.as_second().div_euclid(60);
        let question = line.purpose.map(|_| (QUESTIONS, 1));
        let took = line.purpose.map(|_| (DURATIONS + bucket(total), 1));
        let source = line.source.and_then(|word| {
            let place = [Source::Provider, Source::Shared, Source::Cache].iter().position(|one| one.as_str() == word);
            place.map(|place| (SOURCES + place, 1))
        });
        let verdict = line.verdict.zip(line.provider).and_then(|(word, provider)| {
            let place = Verdict::ALL.iter().position(|one| one.as_str() == word)?;
            Some((BY_PROVIDER + self.provider(provider) * VERDICTS + place, 1))
        });
        let code = line.code.and_then(|word| {
            let place = Code::ALL.iter().position(|one| one.as_str() == word)?;
            Some((CODES + place, 1))
        });
        self.ring.add(minute, [question, took, source, verdict, code].into_iter().flatten());
    }

    /// The place of a provider's counters.
    fn provider(&self, name: &str) -> usize {
        let is_of = |slot: &OnceLock<Arc<str>>| **slot.get_or_init(|| Arc::from(name)) == *name;
        self.providers.iter().position(is_of).unwrap_or(PROVIDERS - 1)
    }

    /// The sums over the `minutes` that end with the minute `last` (since 1970).
    pub fn sum(&self, last: i64, minutes: i64) -> Sum {
        self.told(&self.ring.sum(last, minutes))
    }

    fn told(&self, counts: &[u64; ALL]) -> Sum {
        let count = |place: usize| counts.get(place).copied().unwrap_or_default();
        let names = self.providers.iter().map_while(|slot| slot.get().cloned());
        let verdicts = |place: usize| std::array::from_fn(|one| count(BY_PROVIDER + place * VERDICTS + one));
        let mut providers: Vec<_> = names.enumerate().map(|(place, name)| (name, verdicts(place))).collect();
        let others = verdicts(PROVIDERS - 1);
        if others.iter().any(|count| *count > 0) {
            providers.push((Arc::from("others"), others));
        }
        let codes = Code::ALL.iter().enumerate().map(|(place, code)| (*code, count(CODES + place)));
        let mut problems: Vec<_> = codes.filter(|(_, count)| *count > 0).collect();
        problems.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Sum {
            questions: count(QUESTIONS),
            by_source: std::array::from_fn(|place| count(SOURCES + place)),
            providers,
            problems,
            durations: (0..=ENDS_MS.len()).map(|place| count(DURATIONS + place)).collect(),
        }
    }
}

fn bucket(total: Duration) -> usize {
    let ms = total.as_millis();
    ENDS_MS.iter().position(|end| ms < u128::from(*end)).unwrap_or(ENDS_MS.len())
}

impl Sum {
    /// The share of questions that were answered without a call of their own; `None` without answers.
    pub fn share_without_call(&self) -> Option<f64> {
        let [called, shared, cached] = self.by_source;
        let all = called + shared + cached;
        #[expect(clippy::cast_precision_loss, reason = "a share to show")]
        (all > 0).then(|| (shared + cached) as f64 / all as f64)
    }

    /// The time, in milliseconds, within which this many of a hundred were answered. `None` without any, or if it is
    /// longer than every end.
    pub fn within(&self, percent: u64) -> Option<u64> {
        let all: u64 = self.durations.iter().sum();
        let wanted = (all * percent).div_ceil(100).max(1);
        let mut so_far = 0;
        self.durations.iter().zip(ENDS_MS).find_map(|(count, end)| {
            so_far += count;
            (so_far >= wanted).then_some(end)
        })
    }

    /// The problems.
    pub fn failed(&self) -> u64 {
        self.problems.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_say_what_was_answered() {
        let minutes = Minutes::default();
        let count = |provider: &str, source| {
            let line = Line {
                purpose: Some("default"),
                verdict: Some("mismatch"),
                provider: Some(provider),
                source: Some(source),
                ..Line::default()
            };
            minutes.count(&line, Duration::from_micros(30));
        };
        for _ in 0..99 {
            count("one", "cache");
        }
        let failed = Line { purpose: Some("default"), code: Some("no_provider_available"), ..Line::default() };
        minutes.count(&failed, Duration::from_millis(150));
        minutes.count(&Line { code: Some("unauthenticated"), ..Line::default() }, Duration::ZERO);
        for n in 0..20 {
            count(&format!("p{n}"), "provider");
        }
        let sum = minutes.sum(0, 60);
        assert_eq!((sum.questions, sum.by_source, sum.failed()), (120, [20, 0, 99], 2));
        assert_eq!(sum.providers.len(), PROVIDERS);
        assert_eq!(sum.providers[0], (Arc::from("one"), [0, 99, 0]));
        assert_eq!((sum.providers[8].0.as_ref(), sum.providers[8].1[1]), ("others", 13));
        assert_eq!((sum.within(50), sum.within(99), sum.within(100)), (Some(1), Some(1), Some(200)));
        assert!(sum.share_without_call().is_some_and(|share| share > 0.8));
        assert_eq!(
            minutes.sum(60, 60),
            Sum { providers: minutes.sum(60, 60).providers, durations: vec![0; 16], ..Sum::default() }
        );
    }
}
