//! Clients that try out names or numbers, and clients that merely send many requests.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{StreamExt, stream};

use super::{LogFile, assert_problem, assert_says_when, bearer, client, errors};
use crate::support::{Pair, TestGateway, anybody, person};

/// The `n`th of many distinct names.
fn name(n: u32) -> String {
    format!("张{}", char::from_u32(0x4e00 + n).unwrap())
}

#[tokio::test]
async fn twenty_names_against_one_number_are_stopped_at_the_limit() {
    let log = LogFile::new();
    let gateway = TestGateway::new().chain(&["aliyun"]).access_log(log.log.clone()).start().await;
    let number = anybody().id_number;
    let ask = async |n: u32| gateway.ask(&Pair::new(&name(n), &number)).await;
    let suspected = async |kind: &str| {
        gateway.metric("idgate_enumeration_suspected_total", &[("client", "anonymous"), ("kind", kind)]).await
    };
    assert_eq!((suspected("names_per_number").await, suspected("numbers_per_client").await), (0.0, 0.0));
    for n in 0..5 {
        assert_eq!(ask(n).await.status, 200, "name {n}");
    }
    for n in 5..20 {
        let refused = ask(n).await;
        assert_problem(&refused, 429, "enumeration_suspected");
        assert_says_when(&refused);
        assert!(refused.body["retry_after_seconds"].as_u64().unwrap() <= 3600);
        assert_eq!(errors(&refused), [("/name".to_owned(), "names_per_number".to_owned())]);
        assert_eq!(refused.body["may_have_been_billed"], false);
    }
    assert_eq!((suspected("names_per_number").await, suspected("numbers_per_client").await), (15.0, 0.0));
    assert_eq!(gateway.sandbox.calls("aliyun"), 5, "nothing was called");
    assert_eq!(log.lines().last().unwrap()["reason"], "names_per_number");
    // Cached answers are still served, and other numbers are not affected.
    assert_eq!(ask(0).await.source(), "cache");
    assert_eq!(gateway.ask(&Pair::new(&name(7), &anybody().id_number)).await.status, 200);
}

#[tokio::test]
async fn a_refusal_does_not_tell_whether_the_name_would_have_matched_not_even_one_that_is_remembered() {
    let sections = client("payout", "idg_synthetic-a", "") + &client("thief", "idg_synthetic-b", "");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(sections).start().await;
    let right = Pair::new("张三", "11010519491231002X");
    let ask = async |key: &str, name: &str, more: &[(&str, &str)]| {
        let authorization = bearer(key);
        let headers = [&[("authorization", &*authorization)][..], more].concat();
        gateway.ask_with(&Pair::new(name, &right.id_number), &headers).await
    };
    assert_eq!(ask("idg_synthetic-a", &right.name, &[]).await.verdict(), "match");
    for n in 0..5 {
        assert_eq!(ask("idg_synthetic-b", &name(n), &[]).await.verdict(), "mismatch");
    }
    let without_id = |mut reply: crate::support::Reply| {
        reply.body["request_id"] = "".into();
        reply.body["retry_after_seconds"] = 0.into();
        (reply.status, reply.body)
    };
    for more in [&[][..], &[("cache-control", "only-if-cached")], &[("cache-control", "no-cache")]] {
        let matching = without_id(ask("idg_synthetic-b", &right.name, more).await);
        assert_eq!(matching, without_id(ask("idg_synthetic-b", &name(100), more).await));
        assert_eq!(matching.1["code"], "enumeration_suspected");
    }
    // The limit is per client: the thief's refusals do not affect the payout client.
    assert_eq!(ask("idg_synthetic-a", &right.name, &[]).await.source(), "cache");
    assert_eq!(ask("idg_synthetic-a", &name(100), &[]).await.verdict(), "mismatch");
}

#[tokio::test]
async fn a_client_that_asks_about_too_many_numbers_is_stopped_and_others_are_not() {
    let sections = client("one", "idg_synthetic-a", "") + &client("two", "idg_synthetic-b", "");
    let limit = "[enumeration]\nnumbers_per_client = 10";
    let gateway = TestGateway::new().chain(&["aliyun"]).over(sections).over(limit).start().await;
    let people: Vec<_> = (0..12).map(|_| anybody()).collect();
    let ask = async |key: &str, who: usize| gateway.ask_with(&people[who], &[("authorization", &bearer(key))]).await;
    for who in 0..10 {
        assert_eq!(ask("idg_synthetic-a", who).await.status, 200);
    }
    let refused = ask("idg_synthetic-a", 10).await;
    assert_problem(&refused, 429, "enumeration_suspected");
    assert_eq!(errors(&refused), [("/id_number".to_owned(), "numbers_per_client".to_owned())]);
    assert_eq!(
        (ask("idg_synthetic-a", 3).await.source(), ask("idg_synthetic-b", 10).await.status.as_u16()),
        ("cache", 200)
    );
    let counted = [("client", "one"), ("kind", "numbers_per_client")];
    assert_eq!(gateway.metric("idgate_enumeration_suspected_total", &counted).await, 1.0);
}

/// Runs a minute's traffic as fast as the machine can. The guard's own tests cover the hourly windows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_client_with_a_thousand_different_people_is_not_stopped() {
    let wide = "[providers.aliyun]\nrate_limit = 1000000\nmax_concurrency = 10000\nattempt_timeout = \"30s\"\n\
                connect_timeout = \"20s\"\ncall_limit = \"60s\"\n[server]\nrequest_timeout = \"60s\"\n\
                [chain]\nbudget = \"60s\"\n[breaker]\nslow_call = \"60s\"\nprobe_lease = \"120s\"";
    let section = client("honest", "idg_synthetic-a", "");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(section).over(wide).start().await;
    let answered = AtomicU32::new(0);
    let authorization = bearer("idg_synthetic-a");
    let ask = async |n: u64| {
        let pair = Pair::new("王小明", &person(200_000 + n).id_number);
        // The client's rate limit of 1000 a second is not tested here, but a fast machine may reach it.
        let reply = gateway.ask_with(&pair, &[("authorization", &authorization)]).await;
        assert!(reply.status == 200 || reply.code() == "rate_limited", "{reply:?}");
        answered.fetch_add(1, Ordering::Relaxed);
    };
    stream::iter(0..1000).for_each_concurrent(20, ask).await;
    assert_eq!(answered.into_inner(), 1000);
    assert_eq!(gateway.metric("idgate_enumeration_suspected_total", &[]).await, 0.0);
}
