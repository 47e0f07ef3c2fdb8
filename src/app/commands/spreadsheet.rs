//! Entries as the rows of a spreadsheet.

use anyhow::Context;
use clap::ValueEnum;
use jiff::Timestamp;

use crate::storage::ledger::{Answer, Attempt, Call, Claim, Entry, Forgotten, Operation, Removed, Subject};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object per line, exactly as sealed.
    Jsonl,
    /// For spreadsheets: a cell that begins with = + - or @ gets an apostrophe in front.
    Csv,
}

/// The columns of CSV.
const COLUMNS: [&str; 22] = [
    "number",
    "kind",
    "id",
    "at",
    "flight",
    "client",
    "key_id",
    "purpose",
    "reference",
    "outcome",
    "verdict",
    "source",
    "provider",
    "endpoint",
    "provider_request_id",
    "billed",
    "price_micro_yuan",
    "duration_ms",
    "late",
    "attempts",
    "subject",
    "configuration",
];

pub(super) fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

pub(super) const fn csv_header() -> [&'static str; COLUMNS.len()] {
    COLUMNS
}

/// The cells of the entry with this text.
pub(super) fn csv_record(number: String, body: &str) -> anyhow::Result<[String; COLUMNS.len()]> {
    let entry = serde_json::from_str(body).with_context(|| {
        format!("entry number {number} cannot be read; `idgate ledger verify` shows what is damaged")
    })?;
    Ok(columns(number, entry).map(without_formula))
}

/// Puts an apostrophe before each sign with which a spreadsheet begins a formula: at the start of the cell, and after a
/// character that some spreadsheets take for the end of a cell, whatever stands between as white space or quotes.
fn without_formula(cell: String) -> String {
    let mut safe = String::with_capacity(cell.len());
    let mut is_start = true;
    for c in cell.chars() {
        if is_start && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠') {
            safe.push('\'');
        }
        safe.push(c);
        is_start = matches!(c, ';' | ',' | '|' | '\t' | '\r' | '\n') || (is_start && matches!(c, ' ' | '"'));
    }
    safe
}

fn columns(number: String, entry: Entry) -> [String; COLUMNS.len()] {
    match entry {
        Entry::Call(Call { id, at_ms, flight, subject, client, purpose, provider, endpoint, end }) => [
            number,
            "call".to_owned(),
            id.to_string(),
            at(at_ms),
            flight.to_string(),
            client,
            String::new(),
            purpose,
            String::new(),
            end.outcome,
            end.verdict.unwrap_or_default(),
            String::new(),
            provider,
            endpoint,
            end.provider_request_id.unwrap_or_default(),
            end.billed,
            end.price_micro_yuan.to_string(),
            end.duration_ms.to_string(),
            end.late.to_string(),
            String::new(),
            format!("{}:{}", subject.key, subject.digest),
            String::new(),
        ],
        Entry::Answer(answer) => {
            let Answer { id, at_ms, client, key_id, purpose, reference, subject, outcome, source, provider, .. } =
                answer;
            [
                number,
                "answer".to_owned(),
                id.to_string(),
                at(at_ms),
                answer.flight.map(|flight| flight.to_string()).unwrap_or_default(),
                client,
                key_id,
                purpose,
                reference.unwrap_or_default(),
                outcome,
                String::new(),
                source.unwrap_or_default(),
                provider.unwrap_or_default(),
                String::new(),
                answer.provider_request_id.unwrap_or_default(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                answer.attempts.iter().map(in_short).collect::<Vec<_>>().join(" "),
                subject.map(|subject| format!("{}:{}", subject.key, subject.digest)).unwrap_or_default(),
                answer.configuration,
            ]
        }
        Entry::Claim(Claim { id, at_ms, client, outcome, subject, .. }) => {
            plain([number, "claim".to_owned(), id.to_string(), at(at_ms)], client, outcome, Some(&subject))
        }
        Entry::Forgotten(Forgotten { id, at_ms, client, outcome, subject, .. }) => {
            plain([number, "forgotten".to_owned(), id.to_string(), at(at_ms)], client, outcome, Some(&subject))
        }
        Entry::Operation(operation) => {
            let Operation { id, at_ms, client, outcome, subject, provider, .. } = operation;
            let first = [number, "operation".to_owned(), id.to_string(), at(at_ms)];
            let mut record = plain(first, client, outcome, subject.as_ref());
            if let Some(place) =
                COLUMNS.iter().position(|column| *column == "provider").and_then(|at| record.get_mut(at))
            {
                *place = provider.unwrap_or_default();
            }
            record
        }
        Entry::Removed(Removed { id, at_ms, client, outcome, .. }) => {
            plain([number, "removed".to_owned(), id.to_string(), at(at_ms)], client, outcome, None)
        }
    }
}

/// Entries that are neither calls nor answers fill only a few columns. JSON Lines has all of their fields.
fn plain(first: [String; 4], client: String, outcome: String, subject: Option<&Subject>) -> [String; COLUMNS.len()] {
    let mut record = std::array::from_fn(|_| String::new());
    let subject = subject.map(|subject| format!("{}:{}", subject.key, subject.digest)).unwrap_or_default();
    let named = [("client", client), ("outcome", outcome), ("subject", subject)];
    for (place, column) in record.iter_mut().zip(COLUMNS) {
        if let Some((_, value)) = named.iter().find(|(name, _)| *name == column) {
            place.clone_from(value);
        }
    }
    for (place, value) in record.iter_mut().zip(first) {
        *place = value;
    }
    record
}

fn in_short(attempt: &Attempt) -> String {
    format!("{}/{}={}({})", attempt.provider, attempt.endpoint, attempt.outcome, attempt.billed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_with_the_sign_of_a_formula() {
        for (cell, safe) in [
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("\"=1", "\"'=1"),
            ("\t=1", "\t'=1"),
            ("a;=1,\"+2|-3", "a;'=1,\"'+2|'-3"),
        ] {
            assert_eq!(without_formula(cell.to_owned()), safe);
        }
        for plain in ["", "order-4711", "a=b+c", "0199f3b2-7c1e-7c55", "2026-11-28T00:00:00.000Z", "one/0=verdict(yes)"]
        {
            assert_eq!(without_formula(plain.to_owned()), plain);
        }
    }
}
