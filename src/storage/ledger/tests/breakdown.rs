//! What a period has cost by purpose is the same whatever a statement reads at a time, and what the entries say.

use std::collections::BTreeMap;

use super::super::by_purpose::of_file;
use super::*;

const PERIOD: (i64, i64) = (20_000 * DAY, 20_001 * DAY);

/// An id that was made at this time.
fn id(at_ms: i64, chance: &mut fastrand::Rng) -> Uuid {
    let mut random = [0; 10];
    chance.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(at_ms.unsigned_abs(), &random).into_uuid()
}

/// Calls and answers before, in and after the period, many of them in the same millisecond.
fn entries(count: usize) -> Vec<Entry> {
    let mut chance = fastrand::Rng::with_seed(20_261_129);
    let start = PERIOD.0 - DAY / 2;
    let one = |at: usize| {
        let at_ms = start + i64::try_from(at / 9).unwrap() * (2 * DAY) / i64::try_from(count / 9).unwrap();
        let client = chance.choice(["payout", "bulk"]).unwrap().to_owned();
        let purpose = chance.choice(["default", "withdrawal", "audit"]).unwrap().to_owned();
        let provider = chance.choice(["one", "two"]).unwrap().to_owned();
        let began = at_ms - chance.i64(0..5_000);
        if chance.bool() {
            let begun = Begun { client, purpose, ..begun(id(began, &mut chance), began) };
            let call = BegunCall {
                id: id(began, &mut chance),
                flight: begun.flight,
                at_ms: began,
                provider,
                endpoint: "one.example".to_owned(),
                price_micro_yuan: 300_000,
            };
            let mut end = verdict();
            match chance.u8(..6) {
                0 => (end.outcome, end.billed) = ("unreachable".to_owned(), "no".to_owned()),
                1 => (end.outcome, end.billed) = ("timeout".to_owned(), "unknown".to_owned()),
                2 => (end.billed, end.price_micro_yuan) = ("no".to_owned(), 0),
                _ => end.price_micro_yuan = chance.u64(1..500_000),
            }
            Entry::Call(begun.call(&call, at_ms, end))
        } else {
            let source = chance.choice([None, Some("provider"), Some("shared"), Some("cache")]).unwrap();
            let outcome = source.map_or("provider_unavailable", |_| *chance.choice(&["match", "mismatch"]).unwrap());
            let told = Answer { at_ms, ..answer(outcome) };
            Entry::Answer(Answer {
                id: id(began, &mut chance),
                client,
                purpose,
                source: source.map(str::to_owned),
                provider: source.map(|_| provider),
                ..told
            })
        }
    };
    (0..count).map(one).collect()
}

/// The same by reading every entry.
fn expected(entries: &[Entry]) -> Vec<CostLine> {
    let mut lines = BTreeMap::<_, CostLine>::new();
    for entry in entries.iter().filter(|entry| (PERIOD.0..PERIOD.1).contains(&entry.at_ms())) {
        let (provider, client, purpose) = match entry {
            Entry::Call(call) => (Some(&call.provider), &call.client, &call.purpose),
            Entry::Answer(answer) => (answer.provider.as_ref(), &answer.client, &answer.purpose),
            _ => unreachable!(),
        };
        let Some(provider) = provider else { continue };
        let mut line = CostLine {
            provider: provider.clone(),
            client: client.clone(),
            purpose: purpose.clone(),
            ..CostLine::default()
        };
        let key = (provider.clone(), client.clone(), purpose.clone());
        line = lines.remove(&key).unwrap_or(line);
        match entry {
            Entry::Call(Call { end, .. }) if end.outcome == "verdict" || end.billed != "no" => {
                line.calls += 1;
                line.micro_yuan += if end.billed == "yes" { end.price_micro_yuan } else { 0 };
                line.possible_micro_yuan += if end.billed == "unknown" { end.price_micro_yuan } else { 0 };
            }
            Entry::Answer(answer) if answer.source.as_deref() != Some("provider") => {
                *line.saved_calls.entry(answer.outcome.clone()).or_default() += 1;
            }
            _ => {}
        }
        lines.insert(key, line);
    }
    lines.into_values().collect()
}

#[tokio::test]
async fn a_period_is_what_its_entries_say_whatever_is_read_at_a_time() {
    let folder = Folder::new("breakdown");
    folder.open().await.close().await;
    let mut store = Store::open(&folder.file(), Arc::new(Wal::beside(&folder.file()))).await.unwrap();
    let all = entries(3_000);
    for part in all.chunks(500) {
        store.append_entries(part).await.unwrap();
    }
    store.close().await;
    let expected = expected(&all);
    assert_eq!(expected.len(), 12);
    assert!(expected.iter().all(|line| line.calls > 20 && line.possible_micro_yuan > 0 && line.saved_calls.len() == 2));
    for version in [None, Some(8)] {
        if let Some(version) = version {
            folder.as_of(version).await;
        }
        let reader = Reader::open(&folder.file()).await.unwrap();
        for part in [5, 500, 5_000] {
            assert_eq!(of_file(reader.pool(), PERIOD, part).await.unwrap(), expected, "{part} of {version:?}");
        }
        reader.close().await;
    }
}
