//! What was spent by day, and what a period has cost by purpose, whichever engine keeps the record.

use std::time::Duration;

use idgate::storage::ledger::{Answer, Begun, CostLine, Flight, Ledger, OnDay};
use uuid::Uuid;

use super::{CLIENT, Place, answer, begun, end, ids};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const CHINA_MS: i64 = 8 * 60 * 60 * 1000;

/// More answers than one statement reads.
const MANY: u64 = 5_100;

#[tokio::test]
async fn sqlite_knows_what_was_spent() {
    let place = Place::sqlite();
    let ledger = place.open().await;
    days_and_their_purposes_agree(&place, &[&ledger]).await;
    ledger.close().await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn postgres_knows_what_was_spent_by_all_replicas() {
    let place = Place::postgres();
    let (one, two) = (place.open().await, place.replica("b").await);
    days_and_their_purposes_agree(&place, &[&one, &two]).await;
    one.close().await;
    two.close().await;
}

/// The start of this day in China.
fn start_of_day(ms: i64) -> i64 {
    (ms + CHINA_MS).div_euclid(DAY_MS) * DAY_MS - CHINA_MS
}

/// One call for each end, for one purpose.
async fn call(ledger: &Ledger, provider: &str, purpose: &str, ends: &[(&str, u64)]) {
    let begun = begun("spender");
    let begun = |flight, at_ms| Begun { purpose: purpose.to_owned(), ..begun(flight, at_ms) };
    let flight = ledger.begin(begun).unwrap();
    for (billed, price_micro_yuan) in ends {
        let price_micro_yuan = *price_micro_yuan;
        let ended = flight.call(provider, "one.example", price_micro_yuan).await.unwrap();
        ended.ended(|| idgate::storage::ledger::End { price_micro_yuan, ..end(billed, None) });
    }
}

/// Queues an answer that says from where it came.
fn note(ledger: &Ledger, id: Uuid, outcome: &str, source: &str, purpose: &str) {
    let (source, purpose) = (Some(source.to_owned()), purpose.to_owned());
    ledger.note(Answer { source, purpose, ..answer(id, "spender", outcome) }.borrowed(), Flight::NONE);
}

async fn days_and_their_purposes_agree(place: &Place, ledgers: &[&Ledger]) {
    let replicas = ledgers.len() as u64;
    let today = start_of_day(place.now_ms());
    let [tomorrow, after] = [today + DAY_MS, today + 2 * DAY_MS];
    for ledger in ledgers {
        call(ledger, "one", "payout", &[("yes", 300_000), ("unknown", 500_000), ("no", 0)]).await;
        call(ledger, "one", "audit", &[("yes", 300_000)]).await;
        call(ledger, "two", "payout", &[("unknown", 70_000)]).await;
        for _ in 0..MANY {
            note(ledger, ids().ordered(), "match", "cache", "payout");
        }
        note(ledger, ids().ordered(), "mismatch", "shared", "payout");
        note(ledger, ids().ordered(), "match", "provider", "payout");
        ledger.note(answer(ids().ordered(), "spender", "provider_unavailable").borrowed(), Flight::NONE);
    }
    // What the clock of a test says is not in the ids, by which answers are found.
    place.later(DAY);
    let last = uuid::Builder::from_unix_timestamp_millis(place.now_ms().unsigned_abs(), &[7; 10]).into_uuid();
    call(ledgers[0], "one", "payout", &[("yes", 300_000)]).await;
    note(ledgers[0], last, "no_record", "cache", "audit");
    for ledger in ledgers {
        ledger.settled().await.unwrap();
    }

    let day = |start_ms, provider: &str, calls, micro_yuan| OnDay {
        start_ms,
        provider: provider.to_owned(),
        calls,
        micro_yuan,
    };
    let of_tomorrow = day(tomorrow, "one", 1, 300_000);
    let days = [
        day(today, "one", 3 * replicas, 1_100_000 * replicas),
        day(today, "two", replicas, 70_000 * replicas),
        of_tomorrow.clone(),
    ];
    let line = |provider: &str, purpose: &str, [calls, micro_yuan, possible_micro_yuan]: [u64; 3], saved: &[_]| {
        let (provider, client, purpose) = (provider.to_owned(), CLIENT.to_owned(), purpose.to_owned());
        let saved_calls = saved.iter().map(|(verdict, answers): &(&str, u64)| ((*verdict).to_owned(), *answers));
        CostLine {
            provider,
            client,
            purpose,
            calls,
            micro_yuan,
            possible_micro_yuan,
            saved_calls: saved_calls.collect(),
        }
    };
    let of_today = [
        line("one", "audit", [replicas, 300_000 * replicas, 0], &[]),
        line(
            "one",
            "payout",
            [2 * replicas, 300_000 * replicas, 500_000 * replicas],
            &[("match", MANY * replicas), ("mismatch", replicas)],
        ),
        line("two", "payout", [replicas, 0, 70_000 * replicas], &[]),
    ];
    for ledger in ledgers {
        assert_eq!(ledger.spent_by_day(today).await.unwrap(), days);
        assert_eq!(ledger.spent_by_day(tomorrow).await.unwrap(), std::slice::from_ref(&of_tomorrow));
        assert_eq!(ledger.spent_by_day(after).await.unwrap(), []);
        assert_eq!(ledger.breakdown(today, tomorrow).await.unwrap(), of_today);
        let of_tomorrow =
            [line("one", "audit", [0; 3], &[("no_record", 1)]), line("one", "payout", [1, 300_000, 0], &[])];
        assert_eq!(ledger.breakdown(tomorrow, after).await.unwrap(), of_tomorrow);
        assert_eq!(ledger.breakdown(after, after + DAY_MS).await.unwrap(), []);
        let both = ledger.breakdown(today, after).await.unwrap();
        let sum = |of: fn(&CostLine) -> u64| both.iter().map(of).sum::<u64>();
        assert_eq!(sum(|line| line.calls), days.iter().map(|day| day.calls).sum::<u64>());
        let all = days.iter().map(|day| day.micro_yuan).sum::<u64>();
        assert_eq!(sum(|line| line.micro_yuan + line.possible_micro_yuan), all);
    }
}
