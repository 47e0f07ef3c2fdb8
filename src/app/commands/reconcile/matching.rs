//! Which row of a provider's export is which call of the ledger: by the provider's request id, then by time.
//!
//! Invariants: a row and a call are used once; a call whose request id is known is never taken for a row with another one.

use std::collections::{BTreeSet, HashMap};

use super::usage::Row;
use crate::domain::outcome::Outcome;

/// One call, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    pub(super) request_id: Option<String>,
    /// `yes`, `no` or `unknown`.
    pub(super) billed: String,
    /// What it cost, or at most costs if it is billed.
    pub(super) micro_yuan: i64,
    pub(super) outcome: String,
    pub(super) late: bool,
}

/// What belongs together, by index, and what is left over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    /// Row and call, and whether by id.
    pub(super) pairs: Vec<(usize, usize, bool)>,
    /// Rows that are no call of ours.
    pub(super) rows: Vec<usize>,
    /// Those of them whose id another row has had already.
    pub(super) repeated: BTreeSet<usize>,
    /// Calls that are no row.
    pub(super) calls: Vec<usize>,
}

/// Matches all. A call without a request id may be a row whose time lies in its window, or so many milliseconds beside it.
pub(super) fn all(rows: &[Row], calls: &[Known], tolerance_ms: i64) -> Matched {
    let mut matched = Matched::default();
    let (mut free_rows, mut free_calls) = (vec![true; rows.len()], vec![true; calls.len()]);
    let mut by_id: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, call) in calls.iter().enumerate().rev() {
        if let Some(id) = &call.request_id {
            by_id.entry(id).or_default().push(index);
        }
    }
    for (index, row) in rows.iter().enumerate() {
        let Some(known) = row.request_id.as_deref().and_then(|id| by_id.get_mut(id)) else { continue };
        match known.pop() {
            Some(call) => take(&mut matched, &mut free_rows, &mut free_calls, (index, call, true)),
            None => drop(matched.repeated.insert(index)),
        }
    }
    for (_, row, call) in candidates(rows, calls, &free_rows, &free_calls, &matched.repeated, tolerance_ms) {
        if free_rows.get(row) == Some(&true) && free_calls.get(call) == Some(&true) {
            take(&mut matched, &mut free_rows, &mut free_calls, (row, call, false));
        }
    }
    let left = |free: &[bool]| free.iter().enumerate().filter(|(_, free)| **free).map(|(index, _)| index).collect();
    (matched.rows, matched.calls) = (left(&free_rows), left(&free_calls));
    matched
}

fn take(matched: &mut Matched, rows: &mut [bool], calls: &mut [bool], pair: (usize, usize, bool)) {
    for (free, index) in [(rows, pair.0), (calls, pair.1)] {
        if let Some(free) = free.get_mut(index) {
            *free = false;
        }
    }
    matched.pairs.push(pair);
}

/// Every row and call that could belong together by time, and where the pair stands, the likeliest first: those that do
/// not contradict each other on being billed, then how far beside the window, then how far from its begin, since that is
/// when the provider was asked. What was unreachable was sent nothing, so it is no row.
fn candidates(
    rows: &[Row],
    calls: &[Known],
    free_rows: &[bool],
    free_calls: &[bool],
    repeated: &BTreeSet<usize>,
    tolerance_ms: i64,
) -> Vec<((bool, i64, i64), usize, usize)> {
    let was_sent = |call: &Known| call.outcome != Outcome::Unreachable.as_str();
    let is_free = |(index, call): &(usize, &Known)| free_calls.get(*index) == Some(&true) && was_sent(call);
    let mut by_begin: Vec<_> = calls.iter().enumerate().filter(is_free).collect();
    by_begin.sort_by_key(|(_, call)| call.begin_ms);
    let longest = by_begin.iter().map(|(_, call)| call.end_ms.saturating_sub(call.begin_ms)).max().unwrap_or(0);
    let mut found = Vec::new();
    let is_open = |(index, _): &(usize, &Row)| free_rows.get(*index) == Some(&true) && !repeated.contains(index);
    for (row_index, row) in rows.iter().enumerate().filter(is_open) {
        let earliest = row.at_ms.saturating_sub(longest).saturating_sub(tolerance_ms);
        let first = by_begin.partition_point(|(_, call)| call.begin_ms < earliest);
        let near = by_begin.iter().skip(first);
        for (call_index, call) in near.take_while(|(_, call)| call.begin_ms <= row.at_ms.saturating_add(tolerance_ms)) {
            if row.request_id.is_some() && call.request_id.is_some() {
                continue;
            }
            let beside = (call.begin_ms - row.at_ms).max(row.at_ms - call.end_ms).max(0);
            if beside <= tolerance_ms {
                let contradicts = call.billed == if row.billed { "no" } else { "yes" };
                let place = (contradicts, beside, (row.at_ms - call.begin_ms).abs());
                found.push((place, row_index, *call_index));
            }
        }
    }
    found.sort_unstable();
    found
}

/// How far the rows' times lie from those of the same calls, in minutes, if that is the same quarter of an hour for most of
/// the calls that were found by their id, and not none: then their clock stands in another zone.
pub(super) fn zone_shift(rows: &[Row], calls: &[Known], matched: &Matched) -> Option<i64> {
    const QUARTER: i64 = 15 * 60 * 1_000;
    let by_id: Vec<_> = matched.pairs.iter().filter(|(_, _, by_id)| *by_id).collect();
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for (row, call, _) in &by_id {
        let (Some(row), Some(call)) = (rows.get(*row), calls.get(*call)) else { continue };
        let quarters = (row.at_ms - call.end_ms + QUARTER / 2).div_euclid(QUARTER);
        *counts.entry(quarters).or_default() += 1;
    }
    let (quarters, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (quarters != 0 && count * 2 > by_id.len()).then_some(quarters * 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: u64, id: &str, at_ms: i64) -> Row {
        let request_id = Some(id.to_owned()).filter(|id| !id.is_empty());
        Row { line, request_id, at_ms, billed: true, micro_yuan: None }
    }

    fn call(request_id: &str, begin_ms: i64, end_ms: i64) -> Known {
        let request_id = Some(request_id.to_owned()).filter(|id| !id.is_empty());
        let (billed, outcome) = match request_id {
            Some(_) => ("yes", "verdict"),
            None => ("unknown", "timeout"),
        };
        let (billed, outcome) = (billed.to_owned(), outcome.to_owned());
        Known { id: String::new(), begin_ms, end_ms, request_id, billed, micro_yuan: 1, outcome, late: false }
    }

    #[test]
    fn an_id_goes_before_every_time_and_is_used_once() {
        let rows = [row(2, "a", 90_000), row(3, "a", 1_000), row(4, "b", 2_000)];
        let calls = [call("b", 2_000, 2_100), call("a", 1_000, 1_100), call("", 2_000, 5_000)];
        let matched = all(&rows, &calls, 5_000);
        assert_eq!(matched.pairs, [(0, 1, true), (2, 0, true)]);
        // The same id again is no timeout.
        assert_eq!((matched.rows, matched.repeated, matched.calls), (vec![1], BTreeSet::from([1]), vec![2]));
    }

    #[test]
    fn a_call_without_an_id_is_the_nearest_row_of_its_window_and_each_is_used_once() {
        let calls = [call("", 1_000, 4_000), call("", 3_000, 6_000), call("c", 3_000, 3_100)];
        // The first lies in both windows, and nearer to the second's begin.
        let rows = [row(2, "x", 3_100), row(3, "y", 3_900), row(4, "z", 11_000), row(5, "w", 11_001)];
        let matched = all(&rows, &calls, 5_000);
        assert_eq!(matched.pairs, [(0, 1, false), (1, 0, false)]);
        assert_eq!((matched.rows, matched.calls), (vec![2, 3], vec![2]));
        let matched = all(&rows[2..], &calls, 5_000);
        assert_eq!((matched.pairs, matched.rows), (vec![(0, 1, false)], vec![1]));
        // A row without an id may be any call.
        let matched = all(&[row(2, "", 3_050)], &calls[2..], 0);
        assert_eq!(matched.pairs, [(0, 0, false)]);
    }

    fn ended(billed: &str, outcome: &str, begin_ms: i64, end_ms: i64) -> Known {
        Known { billed: billed.to_owned(), outcome: outcome.to_owned(), ..call("", begin_ms, end_ms) }
    }

    #[test]
    fn a_billed_row_is_sooner_a_call_that_may_be_billed_and_never_one_that_was_not_sent() {
        let timeout = call("", 0, 10_000);
        for nearer in [ended("no", "unreachable", 7_900, 8_050), ended("no", "account_fault", 7_900, 8_050)] {
            let matched = all(&[row(2, "x", 8_000)], &[timeout.clone(), nearer], 5_000);
            assert_eq!((matched.pairs, matched.calls), (vec![(0, 0, false)], vec![1]));
        }
        let unreachable = ended("no", "unreachable", 7_900, 8_050);
        assert_eq!(all(&[row(2, "", 8_000)], &[unreachable], 5_000).rows, [0]);
        // If nothing else is there, what the ledger knows as free is it.
        let free = ended("no", "account_fault", 7_900, 8_050);
        assert_eq!(all(&[row(2, "x", 8_000)], &[free.clone()], 5_000).pairs, [(0, 0, false)]);
        // A free row leaves the timeout to the row that bills it, though it lies nearer to the timeout's begin.
        let rows = [Row { billed: false, ..row(2, "x", 7_950) }, row(3, "y", 8_000)];
        assert_eq!(all(&rows, &[timeout, free], 5_000).pairs, [(0, 1, false), (1, 0, false)]);
    }

    #[test]
    fn a_clock_of_another_zone_is_noticed() {
        let calls = [call("a", 0, 100), call("b", 5_000, 5_100), call("c", 9_000, 9_100)];
        let shifted = |minutes: i64| ["a", "b", "c"].map(|id| row(2, id, minutes * 60_000 + 4_000));
        let shift = |minutes| {
            let rows = shifted(minutes);
            zone_shift(&rows, &calls, &all(&rows, &calls, 5_000))
        };
        assert_eq!([shift(0), shift(480), shift(-330), shift(3)], [None, Some(480), Some(-330), None]);
    }
}
