//! The ways to PostgreSQL: TLS with a client certificate, and a pooler that shares connections between transactions.

use futures_util::future::join_all;
use idgate::storage::ledger::{Config, ReadError};
use serde_json::json;

use super::{Place, ask, claim, digest, forgotten, subject};
use crate::support::eventually;
use crate::support::pki::Authority;
use crate::support::postgres::{Pooler, Postgres, USER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn over_tls_the_server_is_verified_and_we_show_a_certificate() {
    let (authority, stranger) = (Authority::new("postgres"), Authority::new("stranger"));
    let (server, client) = (Postgres::start_tls(&authority), authority.client("idgate.example"));
    let place = Place::on(&server);
    let config = |ca: &Authority, host: &str, with_certificate: bool| -> Config {
        let mut section = json!({
            "host": format!("{host}:{}", server.port()), "database": place.database(), "user": USER, "ca_file": ca.path(),
        });
        if with_certificate {
            section["certificate"] = json!(client.certificate);
            section["key"] = json!(client.key);
        }
        let mut config = place.config("a");
        config.postgres = Some(serde_json::from_value(section).unwrap());
        config
    };
    let ledger = place.try_open(&config(&authority, "127.0.0.1", true)).await.unwrap();
    assert_eq!(ledger.backlog().unwrap().postgres, Some(true));
    let (id, _) = ask(&ledger, "somebody").await;
    assert!(ledger.answer(id).await.unwrap().is_some());
    let encrypted = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'idgate'";
    assert_eq!(server.sql(place.database(), encrypted), "t");
    ledger.close().await;
    drop(ledger);
    for (config, what) in [
        (config(&stranger, "127.0.0.1", true), "another authority"),
        (config(&authority, "127.0.0.1", false), "no certificate of ours"),
    ] {
        let refused = place.try_open(&config).await.map(drop);
        assert!(refused.is_err(), "{what}");
    }
}

/// Whatever a read says, once a connection is free: the pooler has fewer than are wanted.
async fn again<T>(mut read: impl AsyncFnMut() -> Result<T, ReadError>) -> T {
    loop {
        match read().await {
            Ok(read) => return read,
            Err(ReadError::Away) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres, pgbouncer"]
async fn behind_a_pooler_that_shares_connections_between_transactions_everything_works() {
    let server = Postgres::start(&["-c", "fsync=off"]);
    let (place, pooler) = (Place::on(&server), Pooler::before(&server));
    let open = async |name: &str| {
        let mut config = place.config(name);
        let section = json!({"host": pooler.folder(), "database": place.database(), "user": USER, "prepared": false});
        config.postgres = Some(serde_json::from_value(section).unwrap());
        let ledger = place.try_open(&config).await.unwrap();
        assert_eq!(ledger.backlog().unwrap().postgres, Some(true));
        ledger
    };
    let replicas = join_all(["a", "b", "c"].map(&open)).await;
    let not_before = place.now_ms() - 1;
    // More at once than the pooler has connections.
    let works =
        replicas.iter().flat_map(|ledger| (0..3).map(move |turn| (ledger, turn))).map(async |(ledger, turn)| {
            for round in 0..20 {
                let (id, flight) = ask(ledger, "somebody").await;
                assert_eq!(again(async || ledger.answer(id).await).await.map(|answer| answer.id), Some(id));
                assert_eq!(again(async || ledger.calls(flight.id().unwrap()).await).await.len(), 1);
                let key = format!("{turn}-{round}");
                // Each of them tries until one has it.
                while again(async || ledger.claimed(&digest(&key), not_before).await).await.is_none() {
                    let _ = ledger.claim(not_before, None, claim(&key, "other")).await;
                }
            }
        });
    join_all(works).await;
    eventually("they are forgotten", async || replicas[0].forget(forgotten("other")).await.is_ok()).await;
    assert_eq!(again(async || replicas[1].claims_about(&subject("other"), not_before).await).await, 0);
    join_all(replicas.iter().map(|ledger| ledger.close())).await;
    let sums =
        "SELECT count(*) FILTER (WHERE kind = 'answer'), count(*) FILTER (WHERE kind = 'call') FROM idgate.entries";
    assert_eq!(server.sql(place.database(), sums), "180|180");
}
