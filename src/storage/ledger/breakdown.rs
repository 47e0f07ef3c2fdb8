//! What calls have cost in a period, and how many answers needed no call of their own, by provider, client and purpose.
//!
//! The sums by day have no purpose and no answers, so both are taken from the entries, by either engine in the same way:
//! part by part, so that no statement is long, no snapshot of a file stays open, and whoever waits can give up.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::id_times::{LONGEST_QUESTION_MS, first_id};

/// How many entries one statement reads.
pub(super) const PART: i64 = 5_000;

/// What one client has spent at one provider for one purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostLine {
    pub provider: String,
    pub client: String,
    pub purpose: String,
    /// Calls that brought a verdict or may be billed.
    pub calls: u64,
    /// The cost of those that are billed, in millionths of a yuan.
    pub micro_yuan: u64,
    /// What those cost at most of which it is not known whether they are billed, in millionths of a yuan.
    pub possible_micro_yuan: u64,
    /// Answers that needed no call of their own, by verdict.
    pub saved_calls: BTreeMap<String, u64>,
}

/// What a statement sums: provider, client, purpose, whether billed or the verdict, how many, and millionths of a yuan.
pub(super) type Sum = (String, String, String, String, i64, i64);

/// The lines found so far.
#[derive(Debug, Default)]
pub(super) struct Breakdown(BTreeMap<[String; 3], CostLine>);

impl Breakdown {
    pub(super) fn add_calls(&mut self, sums: Vec<Sum>) {
        for (provider, client, purpose, billed, calls, micro_yuan) in sums {
            let line = self.line([provider, client, purpose]);
            line.calls += calls.unsigned_abs();
            match &*billed {
                "yes" => line.micro_yuan += micro_yuan.unsigned_abs(),
                "unknown" => line.possible_micro_yuan += micro_yuan.unsigned_abs(),
                _ => {}
            }
        }
    }

    pub(super) fn add_answers(&mut self, sums: Vec<Sum>) {
        for (provider, client, purpose, verdict, answers, _) in sums {
            let line = self.line([provider, client, purpose]);
            *line.saved_calls.entry(verdict).or_default() += answers.unsigned_abs();
        }
    }

    fn line(&mut self, key: [String; 3]) -> &mut CostLine {
        self.0.entry(key).or_insert_with_key(|[provider, client, purpose]| CostLine {
            provider: provider.clone(),
            client: client.clone(),
            purpose: purpose.clone(),
            ..CostLine::default()
        })
    }

    /// By provider, client and purpose.
    pub(super) fn into_lines(self) -> Vec<CostLine> {
        self.0.into_values().collect()
    }
}

/// The ids between which the answers of a period are. An id is made when its question begins, and by the wall clock,
/// which may be a little ahead of the time that is recorded.
pub(super) fn ids_around(from_ms: i64, until_ms: i64) -> [Uuid; 2] {
    [from_ms.saturating_sub(LONGEST_QUESTION_MS), until_ms.saturating_add(LONGEST_QUESTION_MS)].map(first_id)
}
