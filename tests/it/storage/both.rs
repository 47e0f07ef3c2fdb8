//! What holds whichever engine keeps the record.

use std::time::Duration;

use idgate::storage::ledger::{Counted, Cursor, Ledger, NotClaimed, Operation, Spent, Wanted, WantedChanges};

use super::{CLIENT, Place, answer, ask, claim, digest, end, forgotten, ids, subject};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn sqlite_keeps_the_record() {
    body(Place::sqlite()).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn postgres_keeps_the_record() {
    body(Place::postgres()).await;
}

async fn body(place: Place) {
    let ledger = place.open().await;
    answers_and_calls_are_found(&ledger).await;
    pages_are_complete_and_without_repetition(&ledger).await;
    keys_are_claimed_once_and_end_with_their_person(&ledger, &place).await;
    operations_are_found(&ledger).await;
    changes_are_complete_and_without_repetition(&ledger).await;
    what_was_spent_is_summed(&ledger, &place).await;
    the_past_of_a_person_is_known(&ledger, &place).await;
    ledger.close().await;
    drop(ledger);
    what_was_recorded_survives_a_restart(&place).await;
}

async fn answers_and_calls_are_found(ledger: &Ledger) {
    let (id, flight) = ask(ledger, "somebody").await;
    let found = ledger.answer(id).await.unwrap().unwrap();
    assert_eq!((found.id, &*found.outcome, found.flight), (id, "match", flight.id()));
    let calls = ledger.calls(flight.id().unwrap()).await.unwrap();
    assert_eq!(calls.iter().map(|call| &*call.provider).collect::<Vec<_>>(), ["one"]);
    assert_eq!(ledger.answer(ids().ordered()).await.unwrap(), None);
}

async fn pages_are_complete_and_without_repetition(ledger: &Ledger) {
    for number in 0..30 {
        let outcome = if number % 3 == 0 { "mismatch" } else { "match" };
        ledger.note(answer(ids().ordered(), "many", outcome).borrowed(), idgate::storage::ledger::Flight::NONE);
    }
    let client = || Some(CLIENT.to_owned());
    let about = |person: &str| Some(subject(person).digest);
    for (wanted, expected) in [
        (Wanted { client: client(), ..Wanted::default() }, 31),
        (Wanted { client: Some("other".to_owned()), ..Wanted::default() }, 0),
        (Wanted { subject: about("many"), ..Wanted::default() }, 30),
        (
            Wanted {
                subject: about("many"),
                client: client(),
                outcome: Some("mismatch".to_owned()),
                ..Wanted::default()
            },
            10,
        ),
        (Wanted { subject: about("nobody"), ..Wanted::default() }, 0),
        (Wanted { reference: Some("r-1".to_owned()), client: client(), ..Wanted::default() }, 31),
        (Wanted { provider: Some("one".to_owned()), ..Wanted::default() }, 31),
        (Wanted { until_ms: Some(0), ..Wanted::default() }, 0),
    ] {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (found, next) = ledger.page(&wanted, cursor, 7).await.unwrap();
            assert!(found.len() <= 7);
            all.extend(found.into_iter().map(|answer| answer.id));
            // As a client sends it back.
            cursor = next.map(|next| Cursor::from_bytes(&next.to_bytes()).unwrap());
            if cursor.is_none() {
                break;
            }
        }
        let mut newest_first = all.clone();
        newest_first.sort_by(|one, other| other.cmp(one));
        newest_first.dedup();
        assert_eq!((all.len(), &all), (expected, &newest_first), "{wanted:?}");
    }
}

async fn keys_are_claimed_once_and_end_with_their_person(ledger: &Ledger, place: &Place) {
    let not_before = place.now_ms() - 1;
    assert_eq!(ledger.claimed(&digest("k"), not_before).await.unwrap(), None);
    let first = ledger.claim(not_before, None, claim("k", "holder")).await.unwrap().unwrap();
    let known = ledger.claimed(&digest("k"), not_before).await.unwrap().unwrap();
    assert_eq!((&known.claim, &known.answer, known.is_elsewhere), (&first, &None, false));
    assert_eq!(ledger.claimed(&digest("k"), place.now_ms() + 1).await.unwrap(), None, "it is over");
    // The claim is finished by a verdict only.
    let id = ids().ordered();
    for (id, outcome) in [(ids().ordered(), "provider_unavailable"), (id, "match"), (ids().ordered(), "mismatch")] {
        let answer = idgate::storage::ledger::Answer { claim: Some(first.id), ..answer(id, "holder", outcome) };
        ledger.write(answer.borrowed(), Default::default()).await.unwrap();
    }
    let known = ledger.claimed(&digest("k"), not_before).await.unwrap().unwrap();
    assert_eq!(known.answer.unwrap().id, id);
    assert_eq!(ledger.claims_about(&subject("holder"), not_before).await.unwrap(), 1);
    if ledger.is_shared() {
        let again = ledger.claim(not_before, None, claim("k", "holder")).await;
        assert_eq!(again, Err(NotClaimed::Taken));
    }
    let anew = ledger.claim(not_before, Some(first.id), claim("k", "holder")).await.unwrap().unwrap();
    let known = ledger.claimed(&digest("k"), not_before).await.unwrap().unwrap();
    assert_eq!((known.claim, known.answer), (anew, None), "it starts over");
    ledger.forget(forgotten("holder")).await.unwrap();
    assert_eq!(ledger.claimed(&digest("k"), not_before).await.unwrap(), None);
    assert_eq!(ledger.claims_about(&subject("holder"), not_before).await.unwrap(), 0);
    let later = ledger.claim(not_before, None, claim("k", "holder")).await.unwrap().unwrap();
    // Also after its entry has moved.
    assert_eq!(ledger.page(&Wanted::default(), None, 1).await.unwrap().0.len(), 1);
    let known = ledger.claimed(&digest("k"), not_before).await.unwrap().unwrap();
    assert_eq!(known.claim, later, "a key that is used after its person was forgotten holds");
}

async fn operations_are_found(ledger: &Ledger) {
    for outcome in ["isolated", "restored", "not_found"] {
        let done = Operation { outcome: outcome.to_owned(), provider: Some("one".to_owned()), ..Operation::default() };
        assert!(ledger.record(|id, at_ms| Operation { id, at_ms, ..done }).await);
    }
    assert_eq!(ledger.last_isolation("one").await.unwrap().unwrap().outcome, "restored");
    assert_eq!(ledger.last_isolation("two").await.unwrap(), None);
}

async fn changes_are_complete_and_without_repetition(ledger: &Ledger) {
    for number in 0..5 {
        let provider = (number % 2 == 0).then(|| "one".to_owned());
        let done = Operation {
            outcome: number.to_string(),
            action: "turn".to_owned(),
            operator: "somebody".to_owned(),
            provider,
            ..Operation::default()
        };
        assert!(ledger.record(|id, at_ms| Operation { id, at_ms, ..done }).await);
    }
    let turns = WantedChanges { action: Some("turn".to_owned()), ..WantedChanges::default() };
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let (found, next) = ledger.changes(&turns, cursor, 2).await.unwrap();
        assert!(found.len() <= 2 && found.iter().all(|one| one.operator == "somebody"), "{found:?}");
        seen.extend(found.into_iter().map(|one| one.outcome));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"], "newest first, with a provider or without");
    let all = ledger.changes(&WantedChanges::default(), None, 1000).await.unwrap().0;
    assert!(all.iter().any(|one| one.action == "forget") && all.len() > 8, "{all:?}");
    let [newest, oldest] = [all.first(), all.last()].map(|one| one.unwrap().at_ms);
    for (from_ms, until_ms, count) in [
        (Some(oldest), None, all.len()),
        (Some(newest + 1), None, 0),
        (None, Some(oldest), 0),
        (None, Some(newest + 1), all.len()),
    ] {
        let wanted = WantedChanges { from_ms, until_ms, ..WantedChanges::default() };
        assert_eq!(ledger.changes(&wanted, None, 1000).await.unwrap().0.len(), count);
    }
    let nobody = WantedChanges { operator: Some("nobody".to_owned()), ..WantedChanges::default() };
    assert_eq!(ledger.changes(&nobody, None, 10).await.unwrap(), (Vec::new(), None));
}

async fn what_was_spent_is_summed(ledger: &Ledger, place: &Place) {
    let flight = ledger.begin(super::begun("spender")).unwrap();
    for (billed, reason) in
        [("yes", None), ("unknown", None), ("no", Some("quota_used_up")), ("yes", None), ("no", None)]
    {
        flight.call("two", "two.example", 300_000).await.unwrap().ended(|| end(billed, reason));
    }
    let spent = ledger.spent(place.now_ms() - 40 * 86_400_000, place.now_ms() - 86_400_000).await.unwrap();
    let two: Vec<_> = spent.into_iter().filter(|spent| spent.provider == "two").collect();
    let expected = Spent {
        client: CLIENT.to_owned(),
        provider: "two".to_owned(),
        calls_today: 3,
        micro_yuan_today: 600_000,
        calls: 3,
        micro_yuan: 600_000,
    };
    assert_eq!(two, [expected]);
    let mut counted = Vec::new();
    let each = |call: Counted<'_>| {
        if call.provider == "two" {
            counted.push((call.calls, call.is_billed));
        }
    };
    ledger.counted((0, i64::MAX), "quota_used_up", each).await.unwrap();
    assert_eq!(counted, [(1, true), (1, false), (1, true)], "before, at, and after the end of the quota");
}

async fn the_past_of_a_person_is_known(ledger: &Ledger, place: &Place) {
    let (_, flight) = ask(ledger, "known").await;
    let past = ledger.recorded_since(place.now_ms() - 1000, &subject("known")).await.unwrap();
    assert_eq!(past.flights.iter().map(|flight| flight.calls.len()).collect::<Vec<_>>(), [1]);
    assert!(past.flights[0].told.is_some());
    drop(flight);
    place.later(Duration::from_millis(20));
    ledger.forget(forgotten("known")).await.unwrap();
    let past = ledger.recorded_since(place.now_ms() - 1000, &subject("known")).await.unwrap();
    assert!(past.flights.is_empty(), "who was forgotten has no past");
}

async fn what_was_recorded_survives_a_restart(place: &Place) {
    let ledger = place.open().await;
    let since = ledger.since(place.now_ms() - 86_400_000).await.unwrap().unwrap();
    let recent = ledger.recent(since, &subject("somebody").key).await.unwrap();
    assert!(recent.is_complete);
    assert!(recent.people[&digest("somebody")].flights[0].told.is_some());
    assert!(recent.people[&digest("known")].flights.is_empty());
    assert!(ledger.claimed(&digest("k"), place.now_ms() - 1000).await.unwrap().is_some());
    place.later(2 * DAY);
    assert_eq!(ledger.claimed(&digest("k"), place.now_ms() - 86_400_000).await.unwrap(), None);
    ledger.close().await;
}
