//! An entry on its way to the database: its text, and beside it the values of the columns that indexes and queries use,
//! so that nobody parses the text on the way.
//!
//! A record is a sequence of fields; numbers are little-endian, and a text follows its length. The spool keeps records
//! across restarts, so another layout needs another version of its frames.

use uuid::Uuid;

use super::borrowed::{AnswerRef, CallRef};
use super::entry::{Entry, Subject};

/// The length of a text that is not there.
const NONE: u32 = u32::MAX;
/// The price of an entry that has none.
const NO_PRICE: i64 = i64::MIN;

/// The kinds of entries; a record has the place of its kind. Add new ones at the end.
const KINDS: [&str; 6] = ["call", "answer", "claim", "forgotten", "removed", "operation"];

/// An entry as the database takes it. Each value is what the text says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) kind: &'a str,
    pub(super) at_ms: i64,
    pub(super) price_micro_yuan: Option<i64>,
    pub(super) id: &'a str,
    pub(super) client: &'a str,
    pub(super) outcome: &'a str,
    pub(super) flight: Option<&'a str>,
    pub(super) reference: Option<&'a str>,
    /// The digest of the person.
    pub(super) subject: Option<&'a str>,
    pub(super) provider: Option<&'a str>,
    pub(super) billed: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    /// The digest of an idempotency key.
    pub(super) key: Option<&'a str>,
    pub(super) claim: Option<&'a str>,
    /// The JSON text that is stored and sealed.
    pub(super) text: &'a str,
}

/// Room for the ids of a row.
struct Buffers {
    id: [u8; 45],
    flight: [u8; 45],
    claim: [u8; 45],
}

/// Bytes that are no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends the record of `entry`. After an error `records` has a part of it.
pub(super) fn write(entry: &Entry, records: &mut Vec<u8>) -> serde_json::Result<()> {
    match entry {
        Entry::Call(call) => write_call(&call.borrowed(), records),
        Entry::Answer(answer) => write_answer(&answer.borrowed(), records),
        Entry::Claim(_) | Entry::Forgotten(_) | Entry::Removed(_) | Entry::Operation(_) => {
            write_columns(entry, records);
            let from = begin_text(records);
            serde_json::to_writer(&mut *records, entry)?;
            end_text(from, records);
        }
    }
    Ok(())
}

/// Appends the record of a call.
pub(super) fn write_call(call: &CallRef<'_>, records: &mut Vec<u8>) {
    let mut buffers = Buffers::default();
    let row = columns_of_call(call, &mut buffers);
    put_columns(&row, records);
    let from = begin_text(records);
    call.write_text(row.id, row.flight, records);
    end_text(from, records);
}

/// Appends the record of an answer.
pub(super) fn write_answer(answer: &AnswerRef<'_>, records: &mut Vec<u8>) {
    let mut buffers = Buffers::default();
    let row = columns_of_answer(answer, &mut buffers);
    put_columns(&row, records);
    let from = begin_text(records);
    answer.write_text(row.id, row.flight, row.claim, records);
    end_text(from, records);
}

/// The JSON text of `entry`.
pub(super) fn text(entry: &Entry) -> serde_json::Result<String> {
    let mut records = Vec::new();
    write(entry, &mut records)?;
    Ok(next(&mut &*records).map(|row| row.text.to_owned()).unwrap_or_default())
}

/// Leaves room for the length of a text that follows; returns where that begins.
fn begin_text(records: &mut Vec<u8>) -> usize {
    put_length(NONE, records);
    records.len()
}

/// Writes the length of the text that begins at `from`.
fn end_text(from: usize, records: &mut [u8]) {
    let length = length(records.len() - from);
    if let Some(place) = records.get_mut(from - 4..from) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Appends the record of the entry with this text, which stays as it is.
pub(super) fn write_text(text: &str, records: &mut Vec<u8>) -> serde_json::Result<()> {
    write_columns(&serde_json::from_str(text)?, records);
    put(Some(text), records);
    Ok(())
}

/// Appends the record of this row.
pub(super) fn write_row(row: &Row<'_>, records: &mut Vec<u8>) {
    put_columns(row, records);
    put(Some(row.text), records);
}

/// The rows of these records, in order.
pub(super) fn rows(mut records: &[u8]) -> Result<Vec<Row<'_>>, Malformed> {
    let mut rows = Vec::new();
    while !records.is_empty() {
        rows.push(next(&mut records).ok_or(Malformed)?);
    }
    Ok(rows)
}

/// Passes the columns of `entry` to `use_columns`; the text is missing.
pub(super) fn with_columns<T>(entry: &Entry, use_columns: impl FnOnce(&Row<'_>) -> T) -> T {
    use_columns(&columns(entry, &mut Buffers::default()))
}

fn write_columns(entry: &Entry, records: &mut Vec<u8>) {
    with_columns(entry, |row| put_columns(row, records));
}

fn put_columns(row: &Row<'_>, records: &mut Vec<u8>) {
    let place = KINDS.iter().position(|kind| *kind == row.kind);
    records.push(place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX));
    records.extend_from_slice(&row.at_ms.to_le_bytes());
    records.extend_from_slice(&row.price_micro_yuan.unwrap_or(NO_PRICE).to_le_bytes());
    for text in [Some(row.id), Some(row.client), Some(row.outcome), row.flight, row.reference, row.subject] {
        put(text, records);
    }
    for text in [row.provider, row.billed, row.reason, row.key, row.claim] {
        put(text, records);
    }
}

/// The row of an entry, without its text.
fn columns<'a>(entry: &'a Entry, buffers: &'a mut Buffers) -> Row<'a> {
    let in_hex = |subject: &'a Subject| &*subject.digest;
    let row = |id: &'a mut [u8]| Row {
        kind: entry.kind(),
        at_ms: entry.at_ms(),
        id: entry.id().hyphenated().encode_lower(id),
        ..Row::default()
    };
    match entry {
        Entry::Call(call) => columns_of_call(&call.borrowed(), buffers),
        Entry::Answer(answer) => columns_of_answer(&answer.borrowed(), buffers),
        Entry::Claim(claim) => Row {
            client: &claim.client,
            outcome: &claim.outcome,
            subject: Some(in_hex(&claim.subject)),
            key: Some(&claim.key),
            ..row(&mut buffers.id)
        },
        Entry::Forgotten(forgotten) => Row {
            client: &forgotten.client,
            outcome: &forgotten.outcome,
            subject: Some(in_hex(&forgotten.subject)),
            reason: forgotten.reason.as_deref(),
            ..row(&mut buffers.id)
        },
        Entry::Removed(removed) => Row { client: &removed.client, outcome: &removed.outcome, ..row(&mut buffers.id) },
        Entry::Operation(operation) => Row {
            client: &operation.client,
            outcome: &operation.outcome,
            subject: operation.subject.as_ref().map(in_hex),
            provider: operation.provider.as_deref(),
            reason: operation.reason.as_deref(),
            ..row(&mut buffers.id)
        },
    }
}

fn columns_of_call<'a>(call: &CallRef<'a>, Buffers { id, flight, .. }: &'a mut Buffers) -> Row<'a> {
    Row {
        kind: "call",
        at_ms: call.at_ms,
        price_micro_yuan: Some(i64::try_from(call.end.price_micro_yuan).unwrap_or(i64::MAX)),
        id: call.id.hyphenated().encode_lower(id),
        client: call.client,
        outcome: &call.end.outcome,
        flight: Some(call.flight.hyphenated().encode_lower(flight)),
        subject: Some(&call.subject.digest),
        provider: Some(call.provider),
        billed: Some(&call.end.billed),
        reason: call.end.reason.as_deref(),
        ..Row::default()
    }
}

fn columns_of_answer<'a>(answer: &AnswerRef<'a>, Buffers { id, flight, claim }: &'a mut Buffers) -> Row<'a> {
    Row {
        kind: "answer",
        at_ms: answer.at_ms,
        id: answer.id.hyphenated().encode_lower(id),
        client: answer.client,
        outcome: answer.outcome,
        flight: answer.flight.map(|id| &*id.hyphenated().encode_lower(flight)),
        reference: answer.reference,
        subject: answer.subject.map(|subject| &*subject.digest),
        provider: answer.provider,
        claim: answer.claim.map(|id| &*id.hyphenated().encode_lower(claim)),
        ..Row::default()
    }
}

fn put(text: Option<&str>, records: &mut Vec<u8>) {
    match text {
        Some(text) => {
            put_length(length(text.len()), records);
            records.extend_from_slice(text.as_bytes());
        }
        None => put_length(NONE, records),
    }
}

fn put_length(length: u32, records: &mut Vec<u8>) {
    records.extend_from_slice(&length.to_le_bytes());
}

/// No text comes near the limit; the record of one that did would be malformed.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE)
}

/// Takes the next row off the front.
fn next<'a>(records: &mut &'a [u8]) -> Option<Row<'a>> {
    let [kind] = take(records)?;
    let at_ms = i64::from_le_bytes(take(records)?);
    let price = i64::from_le_bytes(take(records)?);
    let mut text = || {
        let length = u32::from_le_bytes(take(records)?);
        if length == NONE {
            return Some(None);
        }
        let (text, rest) = records.split_at_checked(usize::try_from(length).ok()?)?;
        *records = rest;
        Some(Some(std::str::from_utf8(text).ok()?))
    };
    Some(Row {
        kind: KINDS.get(usize::from(kind))?,
        at_ms,
        price_micro_yuan: (price != NO_PRICE).then_some(price),
        id: text()??,
        client: text()??,
        outcome: text()??,
        flight: text()?,
        reference: text()?,
        subject: text()?,
        provider: text()?,
        billed: text()?,
        reason: text()?,
        key: text()?,
        claim: text()?,
        text: text()??,
    })
}

fn take<const N: usize>(records: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = records.split_first_chunk::<N>()?;
    *records = rest;
    Some(*taken)
}

impl Default for Buffers {
    fn default() -> Self {
        let [id, flight, claim] = [Uuid::encode_buffer(); 3];
        Self { id, flight, claim }
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantNames;

    use super::*;

    #[test]
    fn every_kind_has_its_number() {
        assert_eq!(KINDS[..], *Entry::VARIANTS);
    }

    #[test]
    fn what_is_cut_off_or_changed_in_length_is_no_record() {
        let text = r#"{"kind":"removed","id":"00000000-0000-0000-0000-000000000000","at_ms":1,"client":"","outcome":"removed","up_to":1,"seal":"","keep_ms":1}"#;
        let mut records = Vec::new();
        write_text(text, &mut records).unwrap();
        assert_eq!(rows(&records).unwrap()[0].text, text);
        for end in 1..records.len() {
            assert_eq!(rows(&records[..end]), Err(Malformed), "{end}");
        }
        assert_eq!(rows(&[records.clone(), vec![0]].concat()), Err(Malformed));
        records[0] = 6;
        assert_eq!(rows(&records), Err(Malformed), "an unknown kind");
    }
}
