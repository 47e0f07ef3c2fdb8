//! Matches the rows of a provider's export to the calls in the ledger: by request id, then by time.
//!
//! Invariants: each row and each call is used once; a call with a request id is never matched to a row with another
//! one; as many billed rows as possible are matched (an augmenting path moves others to their alternatives).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::usage::Row;
use crate::domain::outcome::Outcome;
use crate::domain::subject::DigestKey;
use crate::domain::verdict::RequestId;

/// One call in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    pub(super) request_id: Option<String>,
    /// `yes`, `no` or `unknown`.
    pub(super) billed: String,
    /// The price, or the highest possible price if it is unknown whether the call was billed.
    pub(super) micro_yuan: i64,
    pub(super) outcome: String,
    pub(super) late: bool,
}

/// Pairs and leftovers, by index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    /// Row, call, and whether they were matched by id.
    pub(super) pairs: Vec<(usize, usize, bool)>,
    /// Rows without a call.
    pub(super) rows: Vec<usize>,
    /// Those of them whose request id occurred in an earlier row.
    pub(super) repeated: BTreeSet<usize>,
    /// Calls without a row.
    pub(super) calls: Vec<usize>,
}

/// Replaces the request id of each row that the ledger has as a digest only, because it may contain an ID number.
pub(super) fn seal(rows: &mut [Row], calls: &[Known], key: &DigestKey) {
    let known: HashSet<&str> = calls.iter().filter_map(|call| call.request_id.as_deref()).collect();
    for row in rows {
        let sealed = row.request_id.as_deref().filter(|id| !known.contains(id)).map(|id| RequestId::digest_of(id, key));
        if let Some(id) = sealed.filter(|id| known.contains(id.as_str())) {
            row.request_id = Some(id.as_str().to_owned());
        }
    }
}

/// Matches all rows. A call without a request id may match a row whose time is in the call's window or within
/// `tolerance_ms` of it.
#[cfg(test)]
pub(super) fn all(rows: &[Row], calls: &[Known], tolerance_ms: i64) -> Matched {
    within(rows, calls, tolerance_ms, usize::MAX).unwrap_or_default()
}

/// The same; `None` if more than `most` pairs are possible by time: without request ids each row may be any call around
/// its time.
pub(super) fn within(rows: &[Row], calls: &[Known], tolerance_ms: i64, most: usize) -> Option<Matched> {
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
    let found = candidates(rows, calls, (&free_rows, &free_calls), &matched.repeated, tolerance_ms, most)?;
    for (row, call) in by_time(rows, &found) {
        take(&mut matched, &mut free_rows, &mut free_calls, (row, call, false));
    }
    let left = |free: &[bool]| free.iter().enumerate().filter(|(_, free)| **free).map(|(index, _)| index).collect();
    (matched.rows, matched.calls) = (left(&free_rows), left(&free_calls));
    Some(matched)
}

fn take(matched: &mut Matched, rows: &mut [bool], calls: &mut [bool], pair: (usize, usize, bool)) {
    for (free, index) in [(rows, pair.0), (calls, pair.1)] {
        if let Some(free) = free.get_mut(index) {
            *free = false;
        }
    }
    matched.pairs.push(pair);
}

/// The rank of a pair, its row and its call.
type Candidate = ((bool, i64, i64), usize, usize);

/// All pairs that are possible by time, likeliest first. Pairs that agree on being billed rank first, then pairs close
/// to the call's window, then pairs close to its start, when the provider was called. Unreachable calls are left out:
/// nothing was sent.
fn candidates(
    rows: &[Row],
    calls: &[Known],
    (free_rows, free_calls): (&[bool], &[bool]),
    repeated: &BTreeSet<usize>,
    tolerance_ms: i64,
    most: usize,
) -> Option<Vec<Candidate>> {
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
        if found.len() > most {
            return None;
        }
    }
    found.sort_unstable();
    Some(found)
}

/// The call of each row. Takes the likeliest pairs first, then finds a call for each remaining billed row by the
/// shortest augmenting path. A remaining free row makes no difference, so no other row is moved for it.
fn by_time(rows: &[Row], candidates: &[Candidate]) -> BTreeMap<usize, usize> {
    let mut calls_of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let (mut call_of, mut row_of) = (BTreeMap::new(), HashMap::new());
    for &(_, row, call) in candidates {
        calls_of.entry(row).or_default().push(call);
        if !call_of.contains_key(&row) && !row_of.contains_key(&call) {
            call_of.insert(row, call);
            row_of.insert(call, row);
        }
    }
    let is_left = |row: &usize| !call_of.contains_key(row) && rows.get(*row).is_some_and(|row| row.billed);
    let left: Vec<_> = calls_of.keys().copied().filter(is_left).collect();
    // Calls from which no free call can be reached. Without this, each row of a large group would search all of it.
    let mut exhausted = HashSet::new();
    for row in left {
        let mut reached_from = HashMap::new();
        let Some(mut call) = free_call(row, &calls_of, &row_of, &exhausted, &mut reached_from) else {
            exhausted.extend(reached_from.into_keys());
            continue;
        };
        while let Some(row) = reached_from.get(&call).copied() {
            row_of.insert(call, row);
            match call_of.insert(row, call) {
                Some(before) => call = before,
                None => break,
            }
        }
    }
    call_of
}

/// The nearest free call for this row, if other rows move. `reached_from` records from which row each call was reached.
fn free_call(
    row: usize,
    calls_of: &BTreeMap<usize, Vec<usize>>,
    row_of: &HashMap<usize, usize>,
    exhausted: &HashSet<usize>,
    reached_from: &mut HashMap<usize, usize>,
) -> Option<usize> {
    let mut queue = VecDeque::from([row]);
    while let Some(row) = queue.pop_front() {
        for call in calls_of.get(&row).into_iter().flatten() {
            if exhausted.contains(call) || reached_from.contains_key(call) {
                continue;
            }
            reached_from.insert(*call, row);
            match row_of.get(call) {
                Some(owner) => queue.push_back(*owner),
                None => return Some(*call),
            }
        }
    }
    None
}

/// The time zone difference of the export, in minutes: set if most rows matched by id differ by the same multiple of 15
/// minutes, other than 0.
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
    fn a_request_id_that_looks_like_a_number_is_matched_by_its_digest() {
        let key = DigestKey::new([7; 32]);
        let shown = RequestId::digest_of("110105194912310038", &key);
        // A day apart, so that only the id can match them.
        let calls = [call(shown.as_str(), 0, 10), call("plain", 0, 10)];
        let mut rows = [row(2, "110105194912310038", 86_400_000), row(3, "plain", 86_400_000)];
        assert_eq!(all(&rows, &calls, 5).pairs, [(1, 1, true)]);
        seal(&mut rows, &calls, &key);
        let mut pairs = all(&rows, &calls, 5).pairs;
        pairs.sort_unstable();
        assert_eq!(pairs, [(0, 0, true), (1, 1, true)]);
    }

    #[test]
    fn an_id_goes_before_every_time_and_is_used_once() {
        let rows = [row(2, "a", 90_000), row(3, "a", 1_000), row(4, "b", 2_000)];
        let calls = [call("b", 2_000, 2_100), call("a", 1_000, 1_100), call("", 2_000, 5_000)];
        let matched = all(&rows, &calls, 5_000);
        assert_eq!(matched.pairs, [(0, 1, true), (2, 0, true)]);
        // A repeated id does not match the call without an id.
        assert_eq!((matched.rows, matched.repeated, matched.calls), (vec![1], BTreeSet::from([1]), vec![2]));
    }

    #[test]
    fn a_call_without_an_id_is_the_nearest_row_of_its_window_and_each_is_used_once() {
        let calls = [call("", 1_000, 4_000), call("", 3_000, 6_000), call("c", 3_000, 3_100)];
        // The first row is in both windows, and closer to the start of the second.
        let rows = [row(2, "x", 3_100), row(3, "y", 3_900), row(4, "z", 11_000), row(5, "w", 11_001)];
        let matched = all(&rows, &calls, 5_000);
        assert_eq!(matched.pairs, [(0, 1, false), (1, 0, false)]);
        assert_eq!((matched.rows, matched.calls), (vec![2, 3], vec![2]));
        let matched = all(&rows[2..], &calls, 5_000);
        assert_eq!((matched.pairs, matched.rows), (vec![(0, 1, false)], vec![1]));
        // A row without an id may match any call.
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
        // Without alternatives, the row matches the call that the ledger has as unbilled.
        let free = ended("no", "account_fault", 7_900, 8_050);
        assert_eq!(all(&[row(2, "x", 8_000)], std::slice::from_ref(&free), 5_000).pairs, [(0, 0, false)]);
        // An unbilled row does not take the timeout from the billed row, although it is closer to the timeout's start.
        let rows = [Row { billed: false, ..row(2, "x", 7_950) }, row(3, "y", 8_000)];
        assert_eq!(all(&rows, &[timeout, free], 5_000).pairs, [(0, 1, false), (1, 0, false)]);
    }

    #[test]
    fn no_billed_row_stays_without_a_call_if_all_can_have_one() {
        let calls = [ended("yes", "verdict", -5_000, -4_900), ended("yes", "verdict", 1_000, 1_100)];
        let matched = all(&[row(2, "", 0), row(3, "", 4_000)], &calls, 5_000);
        assert_eq!(matched.pairs, [(0, 0, false), (1, 1, false)]);
        assert_eq!((matched.rows, matched.calls), (vec![], vec![]));
        // A long chain: each row is closer to the next row's call, and the last row has only one candidate.
        let calls: Vec<_> = (0..2_000).map(|at| call("", at * 5_000, at * 5_000)).collect();
        let rows: Vec<_> = (0..2_000).map(|at| row(2, "", at * 5_000 + 3_000)).collect();
        assert_eq!(all(&rows, &calls, 3_000).pairs.len(), 2_000);
        // With surplus rows, only the surplus remains unmatched.
        let more: Vec<_> = rows.iter().cloned().chain([row(2, "", 3_000), row(2, "", 3_000)]).collect();
        let matched = all(&more, &calls, 3_000);
        assert_eq!((matched.pairs.len(), matched.rows.len(), matched.calls.len()), (2_000, 2, 0));
        // No row is moved for an unbilled row: matching pairs stay.
        let calls = [ended("yes", "verdict", 1_000, 1_100), call("", 3_000, 3_100)];
        let rows = [row(2, "", 1_050), Row { billed: false, ..row(3, "", 0) }];
        assert_eq!(all(&rows, &calls, 2_000).pairs, [(0, 0, false)]);
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
