//! What PostgreSQL adds: books, and being away.

use std::time::Duration;

use futures_util::future::join_all;
use idgate::storage::ledger::{Flight, OpenError, ReadError, Wanted};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Place, answer, ask, begun, claim, end, forgotten, ids, subject};
use crate::support::eventually;
use crate::support::postgres::Postgres;

#[tokio::test]
#[ignore = "needs postgres"]
async fn three_replicas_write_one_record_and_each_has_its_own_books() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let replicas = join_all(["a", "b", "c"].map(|name| place.replica(name))).await;
    let asking = replicas.iter().map(|ledger| async move {
        for _ in 0..20 {
            ask(ledger, "somebody").await;
        }
    });
    join_all(asking).await;
    let (id, _) = ask(&replicas[0], "somebody").await;
    eventually("any replica finds it", async || replicas[1].answer(id).await.unwrap().is_some()).await;
    join_all(replicas.iter().map(|ledger| ledger.close())).await;
    let per_replica =
        "SELECT replica, count(*), min(seq), max(seq) FROM idgate.entries GROUP BY replica ORDER BY replica";
    assert_eq!(sql(per_replica), "a|42|1|42\nb|40|1|40\nc|40|1|40");
    assert_eq!(sql("SELECT replica, seq FROM idgate.heads ORDER BY replica"), "a|42\nb|40\nc|40");
    assert_eq!(sql("SELECT sum(calls), sum(micro_yuan), sum(billed) FROM idgate.daily"), "61|18300000|61");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn what_is_sent_twice_counts_once() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    for _ in 0..3 {
        // Each start sends what the one before has sent in the last minutes: PostgreSQL may have lost it.
        let ledger = place.open().await;
        ask(&ledger, "somebody").await;
        ledger.close().await;
    }
    assert_eq!(sql("SELECT count(*), max(seq) FROM idgate.entries"), "6|6");
    assert_eq!(sql("SELECT sum(calls) FROM idgate.daily"), "3");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn what_a_failover_lost_is_sent_again_with_the_same_seals() {
    let server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let sql = |text: &str| server.sql(place.database(), text);
    let ledger = place.open().await;
    ask(&ledger, "before").await;
    let claimed = ledger.claim(place.now_ms() - 1, None, claim("k", "somebody")).await.unwrap().unwrap();
    let (id, _) = ask(&ledger, "somebody").await;
    assert!(ledger.answer(id).await.unwrap().is_some());
    let all = "SELECT seq, encode(seal, 'hex') FROM idgate.entries ORDER BY seq";
    let before = sql(all);
    // The standby that takes over has less.
    sql("DELETE FROM idgate.entries WHERE seq > 2; DELETE FROM idgate.claims; DELETE FROM idgate.daily; \
         INSERT INTO idgate.daily SELECT at_ms / 86400000, replica, provider, client, false, 1, price, 1 \
         FROM idgate.entries WHERE kind = 'call'; \
         UPDATE idgate.heads SET seq = 2, seal = (SELECT seal FROM idgate.entries WHERE seq = 2)");
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idgate'");
    eventually("it is sent again", async || {
        ledger.note(answer(ids().ordered(), "after", "match").borrowed(), Flight::NONE);
        ledger.answer(id).await.is_ok_and(|found| found.is_some())
    })
    .await;
    assert!(sql(all).starts_with(&before), "{before}\n{}", sql(all));
    assert_eq!(sql("SELECT sum(calls) FROM idgate.daily"), "2");
    let found = ledger.claimed(&super::digest("k"), place.now_ms() - 1).await.unwrap().unwrap();
    assert_eq!(found.claim, claimed);
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn while_it_hangs_questions_go_on_and_what_needs_it_is_refused_soon() {
    let server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let ledger = place.open().await;
    let (known, _) = ask(&ledger, "somebody").await;
    assert!(ledger.answer(known).await.unwrap().is_some());
    server.hang(true);
    let mut told = Vec::new();
    for round in 0..10 {
        let (id, _) = ask(&ledger, "somebody").await;
        told.push(id);
        let began = Instant::now();
        let found = ledger.answer(known).await;
        assert!(matches!(found, Err(ReadError::Away)), "{round}: {found:?}");
        assert!(began.elapsed() < Duration::from_millis(400), "{round}: {:?}", began.elapsed());
        let began = Instant::now();
        assert!(ledger.claim(0, None, claim("new", "somebody")).await.is_err());
        assert!(ledger.forget(forgotten("somebody")).await.is_err());
        assert!(ledger.page(&Wanted::default(), None, 1).await.is_err());
        assert!(began.elapsed() < Duration::from_millis(100), "{round}: {:?}", began.elapsed());
    }
    server.hang(false);
    eventually("it answers again", async || ledger.answer(known).await.is_ok()).await;
    for id in told {
        assert!(ledger.answer(id).await.unwrap().is_some(), "{id}");
    }
    ledger.close().await;
    assert_eq!(server.sql(place.database(), "SELECT count(*), max(seq) FROM idgate.entries"), "22|22");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn after_a_crash_everything_that_was_told_is_there_once() {
    let mut server = Postgres::start(&[]);
    let place = Place::on(&server);
    let ledger = place.open().await;
    let mut told = Vec::new();
    for _ in 0..20 {
        told.push(ask(&ledger, "somebody").await.0);
    }
    server.crash();
    for _ in 0..20 {
        told.push(ask(&ledger, "somebody").await.0);
    }
    eventually("it is away", async || ledger.answer(told[0]).await.is_err()).await;
    server.run();
    eventually("it answers again", async || ledger.answer(told[0]).await.is_ok()).await;
    for id in &told {
        assert!(ledger.answer(*id).await.unwrap().is_some(), "{id}");
    }
    ledger.close().await;
    let counts = "SELECT count(*), count(DISTINCT id), max(seq) FROM idgate.entries";
    assert_eq!(server.sql(place.database(), counts), "80|80|80");
    assert_eq!(server.sql(place.database(), "SELECT sum(calls) FROM idgate.daily"), "40");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_full_spool_refuses_paid_calls_until_the_database_takes_it() {
    let mut server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let mut config = serde_json::to_value(serde_json::json!({"keep": "400 days", "spool_most": "16MiB"})).unwrap();
    config["spool_folder"] = serde_json::json!(place.folder());
    config["postgres"] = serde_json::json!({
        "host": server.folder(), "database": place.database(), "user": crate::support::postgres::USER
    });
    let mut config: idgate::storage::ledger::Config = serde_json::from_value(config).unwrap();
    config.replica = "a".to_owned();
    let ledger = place.try_open(&config).await.unwrap();
    server.crash();
    let mut written = 0;
    let long = "x".repeat(100_000);
    let refused = loop {
        let entry = answer(ids().ordered(), "somebody", "match");
        let entry = idgate::storage::ledger::Answer { configuration: long.clone(), ..entry };
        if ledger.write(entry.borrowed(), Flight::NONE).await.is_err() {
            break ledger.begin(begun("somebody")).is_err();
        }
        written += 1;
        assert!(written < 200, "the spool has no bound");
    };
    assert!(refused && written > 100, "{written}");
    server.run();
    // A short entry may fit beside the long ones before that, so the spool is asked, not whether calls are made.
    let is_level = || ledger.backlog().is_some_and(|left| left.entries == 0) && ledger.unavailable_reason().is_none();
    eventually("the database takes it", async || is_level()).await;
    let flight = ledger.begin(begun("somebody")).expect("paid calls are made again");
    flight.call("one", "one.example", 1).await.unwrap().ended(|| end("no", None));
    ledger.close().await;
    let counts = "SELECT count(*) FILTER (WHERE kind = 'answer') FROM idgate.entries";
    assert_eq!(server.sql(place.database(), counts), written.to_string());
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_second_process_with_the_same_name_stops_the_first() {
    let place = Place::postgres();
    let first = place.replica("a").await;
    ask(&first, "somebody").await;
    // On another machine, so that the lock of the spool does not help.
    let other =
        Place { folder: place.folder().join("other"), postgres: place.postgres.clone(), now_ms: place.now_ms.clone() };
    std::fs::create_dir(other.folder()).unwrap();
    let second = other.replica("a").await;
    eventually("the first one refuses paid calls", async || first.begin(begun("somebody")).is_err()).await;
    assert_eq!(first.unavailable_reason().map(<&str>::from), Some("name_taken"));
    ask(&second, "somebody").await;
    second.close().await;
    first.close().await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_schema_that_is_not_ours_ends_the_start_with_a_sentence() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let refused = async || match place.try_open(&place.config("a")).await {
        Err(OpenError::Postgres(why)) => why,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it opened"),
    };
    sql("CREATE SCHEMA idgate; CREATE TABLE idgate.others (a int)");
    assert!(refused().await.contains("another program's"));
    sql("DROP TABLE idgate.others");
    let ledger = place.open().await;
    ask(&ledger, "somebody").await;
    ledger.close().await;
    drop(ledger);
    sql("UPDATE idgate.format SET version = 9");
    let ledger = place.open().await;
    ledger.close().await;
    drop(ledger);
    sql("UPDATE idgate.format SET oldest_writer = 9");
    assert!(refused().await.contains("newer idgate"));
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn the_past_of_a_person_is_read_through_an_index() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let ledger = place.open().await;
    ask(&ledger, "somebody").await;
    assert_eq!(ledger.page(&Wanted::default(), None, 9).await.unwrap().0.len(), 1);
    ledger.close().await;
    let start = &subject("somebody").digest[..16];
    for condition in [
        format!("subject IS NOT NULL AND kind <> 'call' AND subject = decode('{start}', 'hex')"),
        "reference = 'r-1'".to_owned(),
        "kind = 'answer' AND client = 'payout'".to_owned(),
    ] {
        let text = format!(
            "SET enable_seqscan = off; EXPLAIN SELECT body FROM idgate.entries WHERE \
             id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid AND {condition} ORDER BY id DESC LIMIT 500"
        );
        let plan = server.sql(place.database(), &text);
        assert!(plan.contains("Index Scan Backward") && !plan.contains("Sort"), "{plan}");
    }
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn months_that_are_wholly_too_old_are_removed_and_their_heads_stay() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let ledger = place.open().await;
    let months = "SELECT count(*) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = \
                  'idgate.entries'::regclass AND relname < to_char(now() - interval '400 days', '\"entries_\"YYYYMM')";
    // An id of two years ago, in a record that keeps 400 days.
    let old_ms = u128::try_from(place.now_ms()).unwrap() - 730 * 86_400_000;
    let old = Uuid::from_u128(old_ms << 80 | 7 << 76 | 2 << 62 | 1);
    // The newest entry comes first: alone, the old one would be the time from which the next is a jump of the clock.
    let (id, _) = ask(&ledger, "somebody").await;
    assert!(ledger.answer(id).await.unwrap().is_some());
    ledger.note(answer(old, "old", "match").borrowed(), Flight::NONE);
    ledger.close().await;
    drop(ledger);
    assert_eq!(sql(months), "1");
    // The first round of a process removes what is too old.
    let ledger = place.open().await;
    ask(&ledger, "somebody else").await;
    eventually("the month is gone", async || sql(months) == "0").await;
    assert_eq!(ledger.answer(old).await.unwrap(), None);
    ledger.close().await;
    assert_eq!(sql("SELECT count(*) FROM idgate.heads"), "2");
}
