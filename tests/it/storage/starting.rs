//! Starts without PostgreSQL, and starts that cannot become right by waiting.

use std::time::Duration;

use idgate::storage::ledger::{Flight, OpenError, Spent, Wanted};
use tokio::time::Instant;

use super::{CLIENT, Place, answer, ask, begun, claim, end, ids};
use crate::support::eventually;
use crate::support::postgres::{Postgres, USER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn without_postgres_a_start_takes_up_what_was_left_and_moves_it_later() {
    let mut server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let ledger = place.open().await;
    let (first, _) = ask(&ledger, "somebody").await;
    assert!(ledger.answer(first).await.unwrap().is_some());
    server.crash();
    let mut told = vec![ask(&ledger, "somebody").await.0];
    // One that is killed in its second call.
    let flight = ledger.begin(begun("cut off")).unwrap();
    flight.call("one", "one.example", 300_000).await.unwrap().ended(|| end("no", None));
    std::mem::forget(flight.call("two", "two.example", 300_000).await.unwrap());
    told.push(ask(&ledger, "somebody").await.0);
    ledger.close().await;
    drop((ledger, flight));
    for _ in 0..2 {
        let began = Instant::now();
        let ledger = place.open().await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(ledger.unavailable_reason(), None);
        let backlog = ledger.backlog().unwrap();
        assert_eq!(backlog.postgres, Some(false));
        // Each has a call and an answer, and the one that was cut off two calls.
        assert_eq!(backlog.entries, 2 * told.len() as u64 + 3, "{backlog:?}");
        let began = Instant::now();
        assert!(ledger.claim(0, None, claim("new", "somebody")).await.is_err());
        assert!(ledger.page(&Wanted::default(), None, 1).await.is_err());
        assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
        told.push(ask(&ledger, "somebody").await.0);
        ledger.close().await;
    }
    let ledger = place.open().await;
    told.push(ask(&ledger, "somebody").await.0);
    server.run();
    eventually("it answers", async || ledger.answer(told[0]).await.is_ok()).await;
    for id in &told {
        assert!(ledger.answer(*id).await.unwrap().is_some(), "{id}");
    }
    assert_eq!(ledger.backlog().unwrap().entries, 0);
    ledger.close().await;
    let sql = |text: &str| server.sql(place.database(), text);
    let all = sql("SELECT count(*), count(DISTINCT id), max(seq) FROM idgate.entries");
    assert_eq!(all, "15|15|15", "six answers with their calls, and one that was cut off with two");
    let cut_off = "SELECT provider, body::json ->> 'outcome', billed FROM idgate.entries WHERE kind = 'call' AND flight IN \
                   (SELECT flight FROM idgate.entries WHERE provider = 'two') ORDER BY provider";
    assert_eq!(sql(cut_off), "one|refused|no\ntwo|interrupted|unknown");
    assert_eq!(place.check(&Default::default()).await.unwrap(), ["a/15=15"]);
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn what_waiting_does_not_cure_ends_the_start_with_a_sentence() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let start = async |key: &str, value: &str| -> String {
        let (socket, database) = place.postgres.clone().unwrap();
        let mut section = serde_json::json!({"host": socket, "database": database, "user": USER});
        section[key] = value.into();
        let mut config = place.config("a");
        config.postgres = Some(serde_json::from_value(section).unwrap());
        let began = Instant::now();
        let error = place.try_open(&config).await.map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Postgres(_)), "{error}");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        error.to_string()
    };
    for (key, value, part) in [
        ("database", "nowhere", "does not exist"),
        ("user", "nobody_here", "does not exist"),
        ("ca_file", "/nowhere/ca.pem", "ca_file cannot be read"),
    ] {
        let told = start(key, value).await;
        assert!(told.starts_with("ledger.postgres: ") && told.contains(part), "{key}: {told}");
    }
    sql("CREATE ROLE without_rights LOGIN");
    let told = start("user", "without_rights").await;
    assert!(told.contains("permission denied"), "{told}");
    place.open().await.close().await;
    sql("UPDATE idgate.format SET oldest_writer = 99");
    let told = start("user", USER).await;
    assert!(told.contains("newer idgate"), "{told}");
    sql("CREATE SCHEMA foreign_one; CREATE TABLE foreign_one.entries (id int)");
    let told = start("schema", "foreign_one").await;
    assert!(told.contains("another program's"), "{told}");
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_wrong_password_ends_the_start() {
    let server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    server.require_passwords(place.database());
    server.sql(place.database(), "CREATE ROLE service LOGIN SUPERUSER PASSWORD 'synthetic-1'");
    let mut config = place.config("a");
    let (socket, database) = place.postgres.clone().unwrap();
    let section = serde_json::json!({"host": socket, "database": database, "user": "service"});
    let file = place.folder().join("password");
    let mut with = async |password: &str| {
        std::fs::write(&file, password).unwrap();
        let mut section: idgate::storage::ledger::postgres::Config = serde_json::from_value(section.clone()).unwrap();
        section.password = Some(idgate::storage::ledger::Password::File(file.clone()));
        config.postgres = Some(section);
        place.try_open(&config).await
    };
    let told = with("wrong").await.map(drop).unwrap_err().to_string();
    assert!(told.contains("password authentication failed") && !told.contains("wrong"), "{told}");
    let ledger = with("synthetic-1\n").await.unwrap();
    let (first, _) = ask(&ledger, "somebody").await;
    assert!(ledger.answer(first).await.unwrap().is_some());
    // It is changed while the replica runs: first in the file, then in the database, which ends its connections.
    std::fs::write(&file, "synthetic-2").unwrap();
    server.sql(place.database(), "ALTER ROLE service PASSWORD 'synthetic-2'");
    server.sql(
        place.database(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idgate'",
    );
    let (second, _) = ask(&ledger, "somebody").await;
    eventually("it is connected again", async || ledger.answer(second).await.is_ok_and(|found| found.is_some())).await;
    ledger.close().await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn what_other_replicas_have_spent_is_read_apart() {
    let place = Place::postgres();
    let (one, two) = (place.replica("a").await, place.replica("b").await);
    ask(&one, "somebody").await;
    ask(&two, "somebody").await;
    ask(&two, "somebody").await;
    let month = place.now_ms() - 40 * 86_400_000;
    let calls = |spent: Vec<Spent>| spent.iter().filter(|one| one.client == CLIENT).map(|one| one.calls).sum::<u64>();
    assert_eq!(calls(two.spent(month, month).await.unwrap()), 2);
    assert_eq!(calls(one.spent(month, month).await.unwrap()), 1);
    assert_eq!(calls(one.spent_elsewhere(month, month).await.unwrap()), 2);
    assert_eq!(calls(two.spent_elsewhere(month, month).await.unwrap()), 1);
    one.close().await;
    two.close().await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn pages_say_who_is_behind_until_that_one_is_back_or_stopped_in_order() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let one = place.replica("a").await;
    // One that was killed, and whose volume has not come back.
    sql(
        "INSERT INTO idgate.replicas VALUES ('b', decode('00000000000000000000000000000000', 'hex'), '1', 0, 1764288000000)",
    );
    ask(&one, "somebody").await;
    assert_eq!(one.behind().await.unwrap(), [("b".to_owned(), 1_764_288_000_000)]);
    let two = place.replica("b").await;
    assert_eq!(one.behind().await.unwrap(), []);
    ask(&two, "somebody").await;
    two.close().await;
    assert_eq!(sql("SELECT level_ms FROM idgate.replicas WHERE replica = 'b'"), i64::MAX.to_string());
    assert_eq!(one.behind().await.unwrap(), [], "it was stopped in order");
    one.close().await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn keys_are_kept_for_two_days_and_the_next_months_have_partitions() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let sql = |text: &str| server.sql(place.database(), text);
    let ledger = place.open().await;
    for key in ["old", "young"] {
        ledger.claim(0, None, claim(key, "somebody")).await.unwrap();
    }
    sql(
        "UPDATE idgate.claims SET at_ms = at_ms - 172900000 WHERE key = (SELECT key FROM idgate.claims ORDER BY id LIMIT 1)",
    );
    ledger.close().await;
    drop(ledger);
    // A start looks for what is over.
    let ledger = place.open().await;
    ledger.note(answer(ids().ordered(), "somebody", "match").borrowed(), Flight::NONE);
    eventually("it is removed", async || sql("SELECT count(*) FROM idgate.claims") == "1").await;
    ledger.close().await;
    let soon = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'idgate.entries'::regclass";
    assert!(["1", "2"].contains(&&*sql(soon)));
}
