//! The verdict cache: what is cached, for which callers, how long, and with what provenance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use idgate::domain::verdict::Verdict;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{NO_CACHE, ONLY_IF_CACHED, SERVER_ERROR, in_short, unhurried, until};
use crate::support::{Builder, Pair, Reply, TestGateway, anybody};

fn one() -> Builder {
    unhurried(TestGateway::new()).chain(&["aliyun"])
}

/// Clients `alpha` and `beta`, each with a key of its own.
fn two_clients() -> String {
    let client = |name: &str| {
        let hash: String = hex::encode(Sha256::digest(format!("{name}-key")));
        format!("[clients.{name}]\nkeys = [{{ id = \"{name}\", sha256 = \"{hash}\" }}]\n")
    };
    client("alpha") + &client("beta")
}

/// The `ttl` of a cache hit.
fn ttl(reply: &Reply) -> Option<u64> {
    reply.header("cache-status").strip_prefix("idgate; hit; ttl=")?.parse().ok()
}

#[tokio::test]
async fn every_kind_of_verdict_has_a_lifetime_of_its_own_and_zero_turns_it_off() {
    let pairs = [Pair::new("张三", "11010519491231002X"), Pair::new("李四", "11010519491231002X"), anybody()];
    for off in ["match", "mismatch", "no_record"] {
        let gateway = one().unlisted(Verdict::NoRecord).over(format!("[cache]\n{off}_ttl = \"0s\"")).start().await;
        for (pair, verdict) in pairs.iter().zip(["match", "mismatch", "no_record"]) {
            assert_eq!(in_short(&gateway.ask(pair).await), format!("aliyun {verdict} (provider)"));
            let source = if verdict == off { "provider" } else { "cache" };
            assert_eq!(in_short(&gateway.ask(pair).await), format!("aliyun {verdict} ({source})"));
        }
    }
}

#[tokio::test]
async fn a_lifetime_ends() {
    let gateway = one().over("[cache]\nmatch_ttl = \"300ms\"").start().await;
    let pair = anybody();
    gateway.ask(&pair).await;
    until("it is forgotten", async || gateway.ask_with(&pair, ONLY_IF_CACHED).await.code() == "not_cached").await;
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (provider)");
}

#[tokio::test]
async fn the_headers_tell_a_hit_from_a_miss() {
    let gateway = one().start().await;
    let pair = anybody();
    let miss = gateway.ask(&pair).await;
    assert_eq!((miss.header("cache-status"), miss.header("age")), ("idgate; fwd=miss", ""));
    let hit = gateway.ask(&pair).await;
    assert!(hit.header("age").parse::<u64>().is_ok_and(|age| age < 600), "{hit:?}");
    assert!(ttl(&hit).is_some_and(|ttl| ttl <= 600), "{hit:?}");
    assert_eq!(hit.body["provenance"]["verified_at"], miss.body["provenance"]["verified_at"]);
    assert_eq!(hit.body["provenance"]["provider_request_id"], miss.body["provenance"]["provider_request_id"]);
    assert_ne!(hit.body["verification_id"], miss.body["verification_id"]);
    assert_eq!(gateway.metric("idgate_calls_avoided_total", &[("reason", "cache")]).await, 1.0);
}

#[tokio::test]
async fn no_cache_asks_again_and_its_answer_is_remembered_for_others() {
    let gateway = one().start().await;
    let pair = anybody();
    let old = gateway.ask(&pair).await;
    let new = gateway.ask_with(&pair, NO_CACHE).await;
    assert_eq!((new.source(), gateway.sandbox.calls("aliyun")), ("provider", 2));
    let next = gateway.ask(&pair).await;
    assert_eq!(next.source(), "cache");
    assert_eq!(next.body["provenance"]["provider_request_id"], new.body["provenance"]["provider_request_id"]);
    assert_ne!(next.body["provenance"]["provider_request_id"], old.body["provenance"]["provider_request_id"]);
}

#[tokio::test]
async fn no_cache_that_fails_leaves_what_is_remembered() {
    let gateway = one().start().await;
    let pair = anybody();
    gateway.ask(&pair).await;
    gateway.fault("aliyun", SERVER_ERROR);
    assert_eq!(in_short(&gateway.ask_with(&pair, NO_CACHE).await), "502 provider_failure");
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (cache)");
}

#[tokio::test]
async fn max_age_takes_an_answer_no_older_than_that() {
    let gateway = one().start().await;
    let pair = anybody();
    gateway.ask(&pair).await;
    let at_most = async |age: &str| gateway.ask_with(&pair, &[("cache-control", age)]).await;
    assert_eq!(at_most("max-age=3600").await.source(), "cache");
    assert_eq!(at_most("max-age=0").await.source(), "provider");
    assert_eq!(gateway.sandbox.calls("aliyun"), 2);
    until("it is too old", async || {
        let header = [("cache-control", "max-age=1, only-if-cached")];
        gateway.ask_with(&pair, &header).await.code() == "not_cached"
    })
    .await;
    assert_eq!(gateway.ask(&pair).await.source(), "cache");
}

#[tokio::test]
async fn only_if_cached_never_calls() {
    let gateway = one().start().await;
    let pair = anybody();
    let reply = gateway.ask_with(&pair, ONLY_IF_CACHED).await;
    assert_eq!(in_short(&reply), "504 not_cached");
    assert_eq!((reply.body["may_have_been_billed"].as_bool(), gateway.sandbox.calls("aliyun")), (Some(false), 0));
    gateway.ask(&pair).await;
    assert_eq!(in_short(&gateway.ask_with(&pair, ONLY_IF_CACHED).await), "aliyun match (cache)");
    let contradiction = [("cache-control", "no-cache, only-if-cached")];
    assert_eq!(in_short(&gateway.ask_with(&pair, &contradiction).await), "504 not_cached");
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
}

#[tokio::test]
async fn a_question_is_the_same_however_it_is_written() {
    let gateway = one().start().await;
    gateway.ask(&Pair::new("张三", "11010519491231002X")).await;
    for (name, number) in [("张三", "11010519491231002x"), (" 张三 ", "11010519491231002X")] {
        assert_eq!(gateway.ask(&Pair::new(name, number)).await.source(), "cache", "{name} {number}");
    }
    assert_eq!(gateway.ask(&Pair::new("张三丰", "11010519491231002X")).await.source(), "provider");
}

#[tokio::test]
async fn s01_an_error_never_poisons_the_memory() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]);
    let gateway = gateway.over("[cache]\nunknown_ttl = \"0s\"").start().await;
    for fault in [SERVER_ERROR, r#"{"kind": "garbage"}"#, r#"{"kind": "truncated"}"#, r#"{"kind": "html_502"}"#] {
        gateway.fault("aliyun", fault);
        let pair = anybody();
        assert_eq!(in_short(&gateway.ask(&pair).await), "yunyi match (provider)", "{fault}");
        assert_eq!(in_short(&gateway.ask(&pair).await), "yunyi match (cache)", "{fault}");

        let pair = anybody();
        gateway.fault("yunyi", fault);
        assert_eq!(gateway.ask(&pair).await.status, 502, "{fault}");
        assert_eq!(in_short(&gateway.ask_with(&pair, ONLY_IF_CACHED).await), "504 not_cached", "{fault}");
        gateway.mend("yunyi");
        assert_eq!(in_short(&gateway.ask(&pair).await), "yunyi match (provider)", "{fault}");
        for provider in ["aliyun", "yunyi"] {
            gateway.admin_post(&format!("/v1/providers/{provider}/restore")).await;
        }
    }
}

#[tokio::test]
async fn s05_a_fallbacks_answer_stands_under_the_fallbacks_name_also_when_the_primary_is_back() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]).start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    let pair = anybody();
    let first = gateway.ask(&pair).await;
    gateway.mend("aliyun");
    let hit = gateway.ask(&pair).await;
    assert_eq!(in_short(&hit), "yunyi match (cache)");
    assert!(hit.attempts().is_empty());
    assert_eq!(hit.body["provenance"]["provider_request_id"], first.body["provenance"]["provider_request_id"]);
}

#[tokio::test]
async fn s04_purposes_with_an_order_or_a_policy_of_their_own_keep_their_verdicts_apart() {
    let purposes =
        "[purposes.payout]\norder = [\"yunyi\"]\n[purposes.careful]\non_unknown = \"stop\"\n[purposes.plain]";
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]).over(purposes).start().await;
    let pair = anybody();
    let ask = async |purpose: &str| {
        let mut body = pair.body();
        body["purpose"] = json!(purpose);
        in_short(&gateway.post(body.to_string(), &[]).await)
    };
    assert_eq!(ask("default").await, "aliyun match (provider)");
    assert_eq!(ask("payout").await, "yunyi match (provider)");
    assert_eq!(ask("careful").await, "aliyun match (provider)");
    // A purpose that overrides nothing shares its cached verdicts.
    assert_eq!(ask("plain").await, "aliyun match (cache)");
    assert_eq!(ask("payout").await, "yunyi match (cache)");
    assert_eq!(ask("unheard_of").await, "403 forbidden");
}

#[tokio::test]
async fn clients_share_answers_unless_each_has_a_memory_of_its_own() {
    for (sharing, source) in [("shared", "cache"), ("per_client", "provider")] {
        let gateway = one().over(two_clients()).over(format!("[cache]\nsharing = \"{sharing}\"")).start().await;
        let pair = anybody();
        let ask = async |client: &str| {
            let authorization = format!("Bearer {client}-key");
            gateway.ask_with(&pair, &[("authorization", &authorization)]).await.source().to_owned()
        };
        assert_eq!(ask("alpha").await, "provider", "{sharing}");
        assert_eq!(ask("beta").await, source, "{sharing}");
        assert_eq!((ask("alpha").await, ask("beta").await), ("cache".into(), "cache".into()), "{sharing}");
    }
}

#[tokio::test]
async fn the_memory_of_each_client_includes_its_calls_in_flight() {
    let gateway = one().over(two_clients()).over("[cache]\nsharing = \"per_client\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "1s"}"#);
    let pair = anybody();
    let ask = async |client: &str| {
        let authorization = format!("Bearer {client}-key");
        gateway.ask_with(&pair, &[("authorization", &authorization)]).await.source().to_owned()
    };
    assert_eq!(tokio::join!(ask("alpha"), ask("beta")), ("provider".into(), "provider".into()));
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 2);
}

#[tokio::test]
async fn no_more_is_remembered_than_the_cap_allows_and_the_newest_stays() {
    let gateway = one().over("[cache]\nmax_entries = 10").over("[providers.aliyun]\nrate_limit = 1000").start().await;
    let people: Vec<_> = (0..50).map(|_| anybody()).collect();
    for pair in &people {
        assert_eq!(gateway.ask(pair).await.source(), "provider");
        assert_eq!(gateway.ask(pair).await.source(), "cache", "the answer just paid for is kept");
    }
    until("the rest is forgotten", async || gateway.metric("idgate_cache_entries", &[]).await <= 10.0).await;
    assert_eq!(gateway.ask_with(&people[0], ONLY_IF_CACHED).await.code(), "not_cached");
    assert_eq!(gateway.ask_with(&people[49], ONLY_IF_CACHED).await.verdict(), "match");
}

/// A key that counts how often it is hashed or compared.
#[derive(Debug, Clone)]
struct Counted(u64, Arc<AtomicUsize>);

impl std::hash::Hash for Counted {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.hash(state);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0 == other.0
    }
}

impl Eq for Counted {}

/// The table behind unknown endings, with its settings: full, and with entries that are used, replaced, evicted and new.
#[tokio::test]
async fn a_full_table_of_the_crate_looks_at_as_few_entries_at_100_000_as_at_1_000() {
    let mut work = Vec::new();
    for entries in [1_000, 100_000] {
        let policy = moka::policy::EvictionPolicy::lru();
        let ends = Duration::from_secs(600);
        let table =
            moka::future::Cache::builder().max_capacity(entries).eviction_policy(policy).time_to_live(ends).build();
        let counter = Arc::new(AtomicUsize::new(0));
        let key = |n| Counted(n, Arc::clone(&counter));
        for n in 0..entries {
            table.insert(key(n), n).await;
        }
        table.run_pending_tasks().await;
        counter.store(0, Ordering::Relaxed);
        for n in 0..2_000 {
            table.insert(key(entries + n), n).await;
            table.get(&key(n * 7 % entries)).await;
            table.insert(key(entries - 1), n).await;
        }
        table.run_pending_tasks().await;
        work.push(counter.load(Ordering::Relaxed) / 2_000);
    }
    assert!(work[1] <= 2 * work[0], "hashes and comparisons per round: {work:?}");
}
