//! Limits and bills of three gateways that share one Redis.

use crate::shared::gateways::fleet;
use crate::support::services::{Forwarder, RedisServer, Traffic};
use crate::support::{anybody, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn the_numbers_that_a_client_asks_about_are_counted_over_all_replicas() {
    let redis = RedisServer::start();
    let fleet = fleet(&redis.address(), |_| "[enumeration]\nnumbers_per_client = 20".to_owned()).await;
    let [one, two, three] = &fleet.gateways[..] else { panic!() };
    for n in 0..20 {
        assert_eq!([one, two][n % 2].ask(&anybody()).await.status, 200);
    }
    for gateway in [three, one] {
        let refused = async || {
            let reply = gateway.ask(&anybody()).await;
            reply.status != 200 && reply.code() == "enumeration_suspected"
        };
        eventually("it has heard of the others", refused).await;
    }
    // Ten there were, and what came in before it heard.
    assert!(fleet.sandbox.calls("aliyun") < 20 + 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn a_person_whom_two_replicas_paid_for_is_a_duplicate_and_an_unknown_ending_is_not_asked_again() {
    let redis = RedisServer::start();
    let limits = "[providers.aliyun]\nattempt_timeout = \"1s\"\ncall_limit = \"1s\"";
    let fleet = fleet(&redis.address(), |_| limits.to_owned()).await;
    let [one, two, three] = &fleet.gateways[..] else { panic!() };
    let pair = anybody();
    one.ask(&pair).await;
    let twice = async || two.metric("idgate_duplicate_bills_total", &[]).await;
    assert_eq!(twice().await, 0.0);
    assert_eq!(two.ask_with(&pair, &[("cache-control", "no-cache")]).await.source(), "provider");
    eventually("it is counted where it was paid", async || twice().await == 1.0).await;
    assert_eq!(one.metric("idgate_duplicate_bills_total", &[]).await, 0.0);

    one.fault("aliyun", r#"{"kind": "hang"}"#);
    let (hung, before) = (anybody(), fleet.sandbox.calls("aliyun"));
    assert_eq!(one.ask(&hung).await.code(), "outcome_unknown");
    one.mend("aliyun");
    let again = three.ask(&hung).await;
    assert_eq!((again.code(), fleet.sandbox.calls("aliyun") - before), ("outcome_unknown", 1));
    assert_eq!(again.body["may_have_been_billed"], true);
    let forced = three.ask_with(&hung, &[("cache-control", "no-cache")]).await;
    assert_eq!(forced.verdict(), "match");
    assert_eq!(one.ask_with(&hung, &[("cache-control", "no-cache")]).await.verdict(), "match");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn all_that_a_question_waits_for_redis_is_one_patience() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let fleet = fleet(&forwarder.address(), |_| String::new()).await;
    // The question's trip leaves less than the call's takes.
    forwarder.set(Traffic::Lags(std::time::Duration::from_millis(130)));
    let one = &fleet.gateways[0];
    assert_eq!(one.ask(&anybody()).await.status, 200);
    let commands = async |command, result| {
        one.metric("idgate_shared_commands_total", &[("command", command), ("result", result)]).await
    };
    assert_eq!((commands("ask", "ok").await, commands("ask", "timeout").await), (1.0, 0.0));
    assert_eq!((commands("admit", "ok").await, commands("admit", "timeout").await), (0.0, 1.0));
    // Where Redis is quick, what the question has waited is not missing to the call.
    forwarder.set(Traffic::Flows);
    assert_eq!(one.ask(&anybody()).await.status, 200);
    assert_eq!(commands("admit", "ok").await, 1.0);
}
