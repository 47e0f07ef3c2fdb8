//! Three gateways that share one Redis, and one set of providers.

use std::time::Duration;

use futures_util::future::join_all;
use idgate::app::simulated;
use idgate::server::sandbox::SandboxHandle;
use serde_json::Value;
use tokio::time::Instant;

use crate::ledger::Folder;
use crate::support::services::{Forwarder, RedisServer, Traffic};
use crate::support::{Pair, Reply, TestGateway, anybody, eventually};

/// One provider, and limits that no test reaches by itself.
const WIDE: &str = "[chain]\norder = [\"aliyun\"]\nbudget = \"15s\"\n\
                    [providers.aliyun]\nattempt_timeout = \"14s\"\nrate_limit = 1000000\nmax_concurrency = 10000\n\
                    [enumeration]\nnumbers_per_client = 0\n[breaker]\nminimum_calls = 100000\n";

/// For what is exact only while Redis answers: on a busy machine it answers later, and then parts of a limit count.
const PATIENT: &str = "[shared]\npatience = \"1s\"\n";

pub struct Fleet {
    pub gateways: Vec<TestGateway>,
    pub sandbox: SandboxHandle,
}

/// Three replicas; `more` is what else each of them has.
pub async fn fleet(address: &str, more: impl Fn(usize) -> String) -> Fleet {
    let mut gateways: Vec<TestGateway> = Vec::new();
    for name in ["one", "two", "three"] {
        let shared = format!(
            "[cache]\ndigest_key = {{ value = \"a key that is the same for all of the replicas\" }}\n\
             [replica]\nname = \"{name}\"\nmost = 3\n\
             [shared]\nredis = [\"{address}\"]\npatience = \"200ms\"\ntakeover = \"2s\"\n"
        );
        let builder = TestGateway::new().over(&shared).over("[server]\nrequest_timeout = \"20s\"");
        let builder = match gateways.first() {
            None => builder,
            Some(first) => builder.over(simulated::configuration(&first.sandbox)),
        };
        let builder = builder.over(WIDE).over(more(gateways.len()));
        gateways.push(builder.start().await);
    }
    let sandbox = gateways[0].sandbox.clone();
    let fleet = Fleet { gateways, sandbox };
    eventually("all see all", async || fleet.sees(3).await).await;
    fleet
}

impl Fleet {
    async fn sees(&self, live: usize) -> bool {
        let statuses = join_all(self.gateways.iter().map(status)).await;
        statuses.iter().all(|status| {
            let replicas = status["shared"]["replicas"].as_array().unwrap();
            status["shared"]["state"] == "up" && replicas.iter().filter(|one| one["state"] == "live").count() == live
        })
    }

    async fn is_up(&self) -> bool {
        join_all(self.gateways.iter().map(status)).await.iter().all(|status| status["shared"]["state"] == "up")
    }

    /// Asks about each, at the replica of its turn, all at once.
    async fn ask(&self, pairs: &[Pair], headers: &[(&str, &str)]) -> Vec<Reply> {
        let asked = pairs.iter().enumerate().map(|(n, pair)| self.gateways[n % 3].ask_with(pair, headers));
        join_all(asked).await
    }

    async fn roles(&self) -> Vec<(String, f64)> {
        let mut roles = Vec::new();
        for role in ["led", "joined", "known", "alone", "taken_over", "lost"] {
            let mut sum = 0.0;
            for gateway in &self.gateways {
                sum += gateway.metric("idgate_shared_questions_total", &[("role", role)]).await;
            }
            roles.push((role.to_owned(), sum));
        }
        roles.retain(|(_, count)| *count > 0.0);
        roles
    }
}

async fn status(gateway: &TestGateway) -> Value {
    serde_json::from_str(&gateway.admin_get("/v1/status").await.1).unwrap()
}

fn roles(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
    expected.iter().map(|(role, count)| ((*role).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_thousand_identical_questions_over_three_replicas_are_one_call() {
    let redis = RedisServer::start();
    for (more, headers) in [("", &[][..]), ("", &[("cache-control", "no-cache")]), ("[cache]\nmatch_ttl = \"0s\"", &[])]
    {
        let fleet = fleet(&redis.address(), |_| format!("{PATIENT}{more}")).await;
        fleet.gateways[0].fault("aliyun", r#"{"kind": "slow", "delay": "6s"}"#);
        let pair = anybody();
        let replies = fleet.ask(&vec![pair.clone(); 1000], headers).await;
        assert!(replies.iter().all(|reply| reply.verdict() == "match"));
        let of = |source: &str| replies.iter().filter(|reply| reply.source() == source).count();
        let sources = (of("provider"), of("shared") + of("cache"));
        assert_eq!((fleet.sandbox.calls("aliyun"), sources), (1, (1, 999)), "{more} {headers:?}");
        assert_eq!(fleet.roles().await, roles(&[("led", 1.0), ("joined", 2.0)]), "{more}");
        let elsewhere = "idgate; fwd=miss; collapsed; detail=replica";
        let of_replicas = replies.iter().filter(|reply| reply.header("cache-status") == elsewhere).count();
        assert!(of_replicas > 0, "what another replica was told is named so");
        let attempts = |reply: &Reply| reply.attempts().len();
        assert_eq!(replies.iter().map(attempts).sum::<usize>(), 1, "each billed call is told once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn what_one_replica_was_told_the_others_know_and_a_failure_is_one_chain_run() {
    let redis = RedisServer::start();
    let fleet = fleet(&redis.address(), |_| String::new()).await;
    let pair = anybody();
    let [one, two, three] = &fleet.gateways[..] else { panic!() };
    assert_eq!(one.ask(&pair).await.source(), "provider");
    let cached = [("cache-control", "only-if-cached")];
    assert_eq!(two.ask_with(&pair, &cached).await.source(), "cache");
    assert_eq!(three.ask(&pair).await.source(), "cache");
    assert_eq!(fleet.sandbox.calls("aliyun"), 1);
    assert_eq!(three.ask_with(&anybody(), &cached).await.code(), "not_cached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_provider_that_fails_a_crowd_is_called_once_and_all_hear_the_same() {
    let redis = RedisServer::start();
    let limits = "[providers.aliyun]\nattempt_timeout = \"4s\"\ncall_limit = \"4s\"";
    let fleet = fleet(&redis.address(), |_| format!("{PATIENT}{limits}")).await;
    fleet.gateways[0].fault("aliyun", r#"{"kind": "hang"}"#);
    let before = fleet.sandbox.calls("aliyun");
    let failed = fleet.ask(&vec![anybody(); 300], &[]).await;
    let codes: std::collections::BTreeSet<_> = failed.iter().map(Reply::code).collect();
    assert_eq!((fleet.sandbox.calls("aliyun") - before, codes.len()), (1, 1), "{codes:?}");
    assert!(failed.iter().all(|reply| reply.body["may_have_been_billed"] == true), "wherever it was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn who_is_forgotten_at_one_replica_is_forgotten_at_all() {
    let redis = RedisServer::start();
    let fleet = fleet(&redis.address(), |_| String::new()).await;
    let (pair, flying) = (anybody(), anybody());
    let [one, two, three] = &fleet.gateways[..] else { panic!() };
    for gateway in [one, two, three] {
        gateway.ask(&pair).await;
    }
    assert_eq!(fleet.sandbox.calls("aliyun"), 1);
    one.fault("aliyun", r#"{"kind": "slow", "delay": "3s"}"#);
    let under_way = async { two.ask(&flying).await };
    let forgets = async {
        eventually("it is called", async || fleet.sandbox.calls("aliyun") == 2).await;
        let mut all = Vec::new();
        for pair in [&pair, &flying] {
            let url = format!("http://{}/v1/subjects/forget", one.admin);
            let began = Instant::now();
            let reply = Reply::of(
                one.http
                    .post(url)
                    .header("content-type", "application/json")
                    .body(pair.body().to_string())
                    .send()
                    .await
                    .unwrap(),
            )
            .await;
            assert!(began.elapsed() < Duration::from_secs(1));
            all.push(reply.body["replicas"].clone());
        }
        all
    };
    let (answered, told) = tokio::join!(under_way, forgets);
    assert_eq!(answered.verdict(), "match");
    let all = serde_json::json!({"of": 3, "told": 3, "unconfirmed": []});
    assert!(told.iter().all(|told| *told == all), "{told:?}");
    one.mend("aliyun");
    let cached = [("cache-control", "only-if-cached")];
    let unknown = async || {
        let mut unknown = true;
        for gateway in &fleet.gateways {
            for pair in [&pair, &flying] {
                unknown &= gateway.ask_with(pair, &cached).await.code() == "not_cached";
            }
        }
        unknown
    };
    eventually("nobody remembers", unknown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn an_isolation_at_one_replica_holds_at_all_until_it_is_restored_at_any() {
    let redis = RedisServer::start();
    let fleet = fleet(&redis.address(), |_| String::new()).await;
    let [one, _, three] = &fleet.gateways[..] else { panic!() };
    one.admin_post("/v1/providers/aliyun/isolate").await;
    let isolated = async |gateway: &TestGateway| gateway.status_of("aliyun").await["isolated"] == true;
    eventually("the third knows", async || isolated(three).await).await;
    three.admin_post("/v1/providers/aliyun/restore").await;
    eventually("the first knows", async || !isolated(one).await).await;
}

/// Redis goes in some way while questions come in, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn no_request_fails_while_redis_is_killed_stopped_stalled_or_flushed() {
    let mut redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let fleet = fleet(&forwarder.address(), |_| String::new()).await;
    for trouble in ["none", "killed", "stopped", "stalled", "flushed", "lags"] {
        let (people, before) = (40, fleet.sandbox.calls("aliyun"));
        let pairs: Vec<_> = (0..people).flat_map(|_| vec![anybody(); 3]).collect();
        let (first, rest) = pairs.split_at(60);
        let mut replies = fleet.ask(first, &[]).await;
        match trouble {
            "killed" => redis.kill(),
            "stopped" => redis.pause(),
            "stalled" => forwarder.set(Traffic::Stalls),
            "lags" => forwarder.set(Traffic::Lags(Duration::from_millis(40))),
            "flushed" => {
                let mut raw = redis.connect().await;
                redis::cmd("FLUSHALL").query_async::<()>(&mut raw).await.unwrap();
                redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut raw).await.unwrap();
            }
            _ => {}
        }
        let began = Instant::now();
        replies.extend(fleet.ask(rest, &[]).await);
        let took = began.elapsed();
        assert!(replies.iter().all(|reply| reply.status == 200), "{trouble}");
        let calls = fleet.sandbox.calls("aliyun") - before;
        println!("{trouble}: {people} people, {} questions, {calls} calls, {took:?}", pairs.len());
        // Each replica may have asked about each person.
        assert!((people..=3 * people).contains(&calls), "{trouble}: {calls}");
        assert!(trouble != "none" || calls == people, "{calls}");
        match trouble {
            "killed" => redis.restart(),
            "stopped" => redis.resume(),
            _ => forwarder.set(Traffic::Flows),
        }
        eventually("it is shared again", async || fleet.is_up().await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_budget_of_100_calls_is_sold_100_times_over_three_replicas() {
    let redis = RedisServer::start();
    let folders: Vec<_> = (0..3).map(|_| Folder::new()).collect();
    let budget = |n: usize| {
        let ledger = format!("[ledger]\nfile = {:?}\n", folders[n].file());
        format!("{PATIENT}{ledger}[providers.aliyun.budget]\ncalls_per_day = 100\n")
    };
    let fleet = fleet(&redis.address(), budget).await;
    let settled = async || {
        let (mut divided, mut known) = (0.0, 0);
        for gateway in &fleet.gateways {
            divided += gateway.metric("idgate_budget_slice", &[]).await;
            known += usize::from(gateway.admin_get("/metrics").await.1.contains("idgate_budget_slice{"));
        }
        divided == 0.0 && known == 3
    };
    eventually("no budget is divided", settled).await;
    let pairs: Vec<_> = (0..500).map(|_| anybody()).collect();
    let replies = fleet.ask(&pairs, &[]).await;
    let told = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!((told, fleet.sandbox.calls("aliyun")), (100, 100));
    assert!(replies.iter().filter(|reply| reply.status != 200).all(|reply| reply.status == 503));
}
