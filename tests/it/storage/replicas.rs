//! Gateways that share a record.

use futures_util::future::join_all;
use idgate::providers::{DRIVERS, Driver};

use super::Place;
use crate::support::postgres::{Postgres, USER};
use crate::support::services::{Forwarder, RedisServer, Traffic};
use crate::support::{Reply, TestGateway, anybody, eventually};

const KEY: (&str, &str) = ("idempotency-key", "k-1");
const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");

impl Place {
    /// A gateway whose record is in PostgreSQL.
    async fn gateway(&self, name: &str) -> TestGateway {
        self.gateway_with(name, "").await
    }

    /// The same with more sections.
    async fn gateway_with(&self, name: &str, more: &str) -> TestGateway {
        let (socket, database) = self.postgres.clone().unwrap();
        let key = "synthetic-digest-key-0123456789abcdef";
        let fast = |driver: &&Driver| format!("[providers.{}]\nrate_limit = 1000000\n", driver.name);
        let toml = format!(
            "[replica]\nname = \"{name}\"\nmost = 3\n[cache]\ndigest_key = {{ value = \"{key}\" }}\n[ledger]\n\
             spool_folder = {:?}\n[ledger.postgres]\nhost = {socket:?}\ndatabase = \"{database}\"\nuser = \"{USER}\"\n",
            self.folder()
        );
        TestGateway::new()
            .over(toml)
            .over(DRIVERS.iter().map(fast).collect::<String>())
            .over(more)
            .chain(&["aliyun"])
            .start()
            .await
    }
}

fn id(reply: &Reply) -> String {
    reply.body["verification_id"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn one_key_at_three_gateways_at_once_is_one_call_and_one_answer() {
    let place = Place::postgres();
    let gateways = join_all(["a", "b", "c"].map(|name| place.gateway(name))).await;
    let calls = || gateways.iter().map(|gateway| gateway.sandbox.calls("aliyun")).sum::<u64>();
    for gateway in &gateways {
        gateway.fault("aliyun", r#"{"kind": "slow", "delay": "300ms", "times": 1}"#);
    }
    let pair = anybody();
    let replies = join_all(gateways.iter().map(|gateway| gateway.ask_with(&pair, &[KEY, NO_CACHE]))).await;
    assert_eq!(calls(), 1, "{replies:?}");
    let first = id(&replies[0]);
    assert!(replies.iter().all(|reply| id(reply) == first), "{replies:?}");
    // An answer of any of them is found at each.
    for gateway in &gateways {
        let path = format!("http://{}/v1/verifications/{first}", gateway.admin);
        eventually("it is found", async || {
            let reply = gateway.http.get(&path).send().await.unwrap();
            reply.status().as_u16() == 200
        })
        .await;
    }
    // Forgotten at one, the key is new at another.
    let url = format!("http://{}/v1/subjects/forget", gateways[2].admin);
    let request = gateways[2].http.post(url).header("content-type", "application/json");
    let forgotten = Reply::of(request.body(pair.body().to_string()).send().await.unwrap()).await;
    assert_eq!(forgotten.body["forgotten"]["replays"], 1, "{forgotten:?}");
    eventually("it is a new question", async || id(&gateways[0].ask_with(&pair, &[KEY, NO_CACHE]).await) != first)
        .await;
    for gateway in gateways {
        assert!(gateway.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_key_whose_question_failed_at_one_gateway_is_free_at_another() {
    let place = Place::postgres();
    let (one, two) = (place.gateway("a").await, place.gateway("b").await);
    one.fault("aliyun", r#"{"kind": "status", "status": 500}"#);
    let pair = anybody();
    let failed = one.ask_with(&pair, &[KEY]).await;
    assert!(!failed.code().is_empty(), "{failed:?}");
    let answered = two.ask_with(&pair, &[KEY]).await;
    assert_eq!(answered.verdict(), "match", "{answered:?}");
    // The first one asks the record before it goes on.
    let replayed = one.ask_with(&pair, &[KEY]).await;
    assert_eq!(id(&replayed), id(&answered), "{replayed:?}");
    assert!(one.stop().await && two.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn while_postgres_is_away_only_what_needs_it_is_refused() {
    let server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let gateway = place.gateway("a").await;
    let known = anybody();
    let id = id(&gateway.ask(&known).await);
    server.hang(true);
    let lookup = async || {
        let reply = gateway.http.get(format!("http://{}/v1/verifications/{id}", gateway.admin)).send().await.unwrap();
        reply.status().as_u16()
    };
    eventually("it is away", async || gateway.metric("idgate_ledger_postgres_up", &[]).await == 0.0).await;
    let began = tokio::time::Instant::now();
    assert_eq!(lookup().await, 503);
    let keyed = gateway.ask_with(&anybody(), &[KEY]).await;
    assert_eq!(keyed.code(), "ledger_unavailable");
    assert!(began.elapsed() < std::time::Duration::from_millis(500), "{:?}", began.elapsed());
    for _ in 0..20 {
        assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
    }
    assert_eq!(gateway.ask_with(&known, &[("idempotency-key", "k-2")]).await.source(), "cache");
    let status = gateway.http.get(format!("http://{}/v1/status", gateway.admin)).send().await.unwrap();
    let status = Reply::of(status).await.body;
    assert_eq!((&status["ledger"]["available"], &status["ledger"]["postgres"]), (&true.into(), &false.into()));
    server.hang(false);
    eventually("it is back", async || lookup().await == 200).await;
    eventually("nothing waits", async || gateway.metric("idgate_ledger_behind_entries", &[]).await == 0.0).await;
    assert!(gateway.stop().await);
    let counts = "SELECT count(*), count(DISTINCT id) FROM idgate.entries WHERE kind = 'answer' AND outcome = 'match'";
    assert_eq!(server.sql(place.database(), counts), "22|22");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn no_table_has_a_name_or_a_number() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let gateway = place.gateway("a").await;
    let pair = anybody();
    gateway.ask_with(&pair, &[KEY]).await;
    let url = format!("http://{}/v1/subjects/forget", gateway.admin);
    let request = gateway.http.post(url).header("content-type", "application/json");
    assert_eq!(request.body(pair.body().to_string()).send().await.unwrap().status().as_u16(), 200);
    assert!(gateway.stop().await);
    let dump = server.dump(place.database());
    assert!(dump.contains("CREATE TABLE idgate.claims") && dump.contains("\"kind\":\"answer\""), "{dump}");
    for canary in [&*pair.name, &*pair.id_number, "synthetic-digest-key", KEY.1] {
        assert!(!dump.contains(canary), "{canary}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn a_gateway_that_starts_without_postgres_serves_what_needs_no_budget() {
    const BUDGET: &str = "[providers.aliyun.budget]\ncalls_per_day = 5\n";
    let mut server = Postgres::start(&["-c", "fsync=off"]);
    let place = Place::on(&server);
    let (one, two) = (place.gateway_with("a", BUDGET).await, place.gateway("b").await);
    for gateway in [&one, &one, &two] {
        assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
    }
    assert!(one.stop().await && two.stop().await);
    server.crash();
    let began = tokio::time::Instant::now();
    let (one, two) = (place.gateway_with("a", BUDGET).await, place.gateway("b").await);
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    let status = |gateway: &TestGateway| {
        let (http, url) = (gateway.http.clone(), format!("http://{}/v1/status", gateway.admin));
        async move { Reply::of(http.get(url).send().await.unwrap()).await.body }
    };
    assert_eq!(status(&two).await["ledger"]["postgres"], false);
    assert_eq!(two.metric("idgate_ledger_postgres_up", &[]).await, 0.0);
    assert_eq!(two.admin_get("/readyz").await.0, 200);
    let known = anybody();
    assert_eq!(two.ask(&known).await.verdict(), "match");
    let began = tokio::time::Instant::now();
    assert_eq!(two.ask_with(&anybody(), &[KEY]).await.code(), "ledger_unavailable");
    assert!(began.elapsed() < std::time::Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!(one.ask(&anybody()).await.code(), "ledger_unavailable", "what was spent is not known");
    server.run();
    eventually("what was spent is read", async || one.ask(&anybody()).await.status == 200).await;
    // Two of its own and one of the other one's are known, and perhaps the one that the other one has made since.
    let mut more = 0;
    while one.ask(&anybody()).await.status == 200 {
        more += 1;
    }
    assert!(more <= 1, "five in all, and {more} after the first");
    assert_eq!(two.ask_with(&anybody(), &[KEY]).await.verdict(), "match");
    eventually("nothing waits", async || two.metric("idgate_ledger_behind_entries", &[]).await == 0.0).await;
    assert!(one.stop().await && two.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres, redis-server"]
async fn while_redis_is_away_a_person_is_forgotten_at_every_replica_within_two_seconds_and_stays_so() {
    let (place, redis) = (Place::postgres(), RedisServer::start());
    let forwarder = Forwarder::to(&redis.socket());
    let shared = format!("[shared]\nredis = [\"{}\"]\npatience = \"200ms\"\n", forwarder.address());
    let (one, two) = (place.gateway_with("a", &shared).await, place.gateway_with("b", &shared).await);
    let is_up = async |gateway: &TestGateway| gateway.metric("idgate_shared_up", &[]).await == 1.0;
    eventually("both are connected", async || is_up(&one).await && is_up(&two).await).await;
    let (pair, other) = (anybody(), anybody());
    for pair in [&pair, &other] {
        assert_eq!(one.ask(pair).await.source(), "provider");
        assert_eq!(two.ask(pair).await.source(), "cache");
    }
    forwarder.set(Traffic::Refused);
    forwarder.cut();
    eventually("Redis is away", async || !is_up(&one).await && !is_up(&two).await).await;
    let forget = async |gateway: &TestGateway| {
        let url = format!("http://{}/v1/subjects/forget", gateway.admin);
        let request = gateway.http.post(url).header("content-type", "application/json");
        Reply::of(request.body(pair.body().to_string()).send().await.unwrap()).await
    };
    assert_eq!(forget(&one).await.status, 200);
    let began = tokio::time::Instant::now();
    let cached = [("cache-control", "only-if-cached")];
    eventually("the other one has forgotten", async || two.ask_with(&pair, &cached).await.status != 200).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(two.ask_with(&other, &cached).await.source(), "cache", "nobody else is");
    // Redis still had the verdict.
    forwarder.set(Traffic::Flows);
    eventually("Redis is back", async || is_up(&one).await && is_up(&two).await).await;
    eventually("it has forgotten, too", async || two.ask_with(&pair, &cached).await.status != 200).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_ne!(one.ask_with(&pair, &cached).await.status, 200);
    assert_eq!(two.ask(&pair).await.source(), "provider");
    assert!(one.stop().await && two.stop().await);
}
