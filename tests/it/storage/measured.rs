//! How many entries PostgreSQL takes. Run it alone: `cargo test --test it -- --ignored entries_a_second --nocapture`.

use idgate::storage::ledger::{Flight, Wanted};
use tokio::time::Instant;

use super::{Place, answer, ids};
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
        ledger.note(answer(ids().ordered(), "somebody", "match"), Flight::NONE);
    }
    let none = Wanted { client: Some("nobody".to_owned()), ..Wanted::default() };
    while ledger.page(&none, None, 1).await.is_err() {}
    let took = began.elapsed();
    assert_eq!(server.sql(place.database(), "SELECT count(*) FROM idgate.entries"), count.to_string());
    eprintln!("{count} entries in {took:?}: {:.0} a second", f64::from(count) / took.as_secs_f64());
    ledger.close().await;
}
