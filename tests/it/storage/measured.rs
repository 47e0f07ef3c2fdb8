//! How many entries PostgreSQL takes, and how long a period is read by purpose. Run each alone, such as
//! `cargo test --test it -- --ignored entries_a_second --nocapture`.

use idgate::storage::ledger::{Answer, Flight, Ledger, Wanted};
use sqlx::Connection as _;
use tokio::time::Instant;

use super::{Place, answer, ask, ids};
use crate::support::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn entries_a_second() {
    // With the waits for the disk that a real one has.
    let server = Postgres::start(&[]);
    let place = Place::on(&server);
    let ledger = place.open().await;
    let count = 20_000;
    let began = Instant::now();
    for _ in 0..count {
        ledger.note(answer(ids().ordered(), "somebody", "match").borrowed(), Flight::NONE);
    }
    let none = Wanted { client: Some("nobody".to_owned()), ..Wanted::default() };
    while ledger.page(&none, None, 1).await.is_err() {}
    let took = began.elapsed();
    assert_eq!(server.sql(place.database(), "SELECT count(*) FROM idgate.entries"), count.to_string());
    eprintln!("{count} entries in {took:?}: {:.0} a second", f64::from(count) / took.as_secs_f64());
    ledger.close().await;
}

/// How often each of three entries is there: a call, its answer, and one from the cache.
const COPIES: [u64; 2] = [33_333, 333_333];

/// Copies of all calls and answers, 0.1 s or 1 s apart, with ids of their time.
fn copies(columns: &str, rest: &str, [id, series]: [&str; 2], copies: u64) -> String {
    let step = 33_333_000 / copies;
    format!(
        "INSERT INTO {columns} SELECT {rest} FROM (SELECT *, at_ms - n * {step} AS then_ms, {id} AS new_id, n AS copy \
         FROM {columns_of}, {series} WHERE kind IN ('call', 'answer')) AS copied",
        columns_of = columns.split(' ').next().unwrap(),
        id = id.replace("MS", &format!("(at_ms - n * {step})")),
    )
}

async fn three(ledger: &Ledger) {
    ask(ledger, "somebody").await;
    let told = Answer { source: Some("cache".to_owned()), ..answer(ids().ordered(), "somebody", "match") };
    ledger.note(told.borrowed(), Flight::NONE);
    ledger.settled().await.unwrap();
}

/// How long it takes.
async fn read(place: &Place, ledger: &Ledger, expected: u64) -> String {
    let mut told = format!("{} entries in", expected * 3);
    for what in ["at first", "again"] {
        let began = Instant::now();
        let found = ledger.breakdown(place.now_ms() - 86_400_000, place.now_ms() + 1000).await.unwrap();
        let took = began.elapsed();
        assert_eq!((found.len(), found[0].calls, found[0].saved_calls["match"]), (1, expected, expected));
        told += &format!(" {took:.2?} {what}");
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn a_period_by_purpose_in_sqlite() {
    for count in COPIES {
        let place = Place::sqlite();
        let ledger = place.open().await;
        three(&ledger).await;
        let url = format!("sqlite:{}", place.folder().join("ledger.db").display());
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let id = "lower(substr(printf('%012x', MS), 1, 8) || '-' || substr(printf('%012x', MS), 9) || '-7' || \
                  substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))";
        let series = format!(
            "(WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)"
        );
        let own = "own_kind, own_id, own_at_ms, own_client, own_outcome, own_provider, own_subject, own_flight, \
                   own_reference, own_billed, own_price, own_reason, own_key, own_claim";
        let rest = "1000000 * seq + copy, body, hash, own_kind, new_id, then_ms, own_client, own_outcome, own_provider, \
                    own_subject, own_flight, own_reference, own_billed, own_price, own_reason, own_key, own_claim";
        let text = copies(&format!("entries (seq, body, hash, {own})"), rest, [id, &series], count);
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut database).await.unwrap();
        let told = read(&place, &ledger, count + 1).await;
        eprintln!("SQLite: {told}");
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres; measures"]
async fn a_period_by_purpose_in_postgres() {
    let server = Postgres::start(&[]);
    for count in COPIES {
        let place = Place::on(&server);
        let ledger = place.open().await;
        three(&ledger).await;
        let id = "(lpad(to_hex(MS), 12, '0') || '7' || substr(md5(random()::text), 1, 3) || '8' || \
                  substr(md5(random()::text), 1, 15))::uuid";
        let series = format!("generate_series(1, {count}) AS s (n)");
        let columns = "idgate.entries (id, replica, book, seq, seal, body, kind, at_ms, client, outcome, subject, provider, \
                       flight, reference, billed, reason, price)";
        let rest = "new_id, replica, book, 1000000 * seq + copy, seal, body, kind, then_ms, client, outcome, subject, \
                    provider, flight, reference, billed, reason, price";
        server.sql(place.database(), &copies(columns, rest, [id, &series], count));
        for analyzed in [false, true] {
            if analyzed {
                server.sql(place.database(), "ANALYZE");
            }
            let told = read(&place, &ledger, count + 1).await;
            eprintln!("PostgreSQL{}: {told}", if analyzed { ", analyzed" } else { "" });
        }
        ledger.close().await;
    }
}
