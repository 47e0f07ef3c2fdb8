//! Client budgets and prepaid packages: the amounts spent survive restarts and reloads, because the ledger has them.

use futures_util::future::join_all;
use idgate::domain::verdict::Verdict;

use super::{Folder, client, eventually};
use crate::support::{Builder, Pair, Reply, TestGateway, anybody};

const PRICE: &str = "price_yuan = { match = \"0.30\", mismatch = \"0.30\", no_record = \"0.00\" }\n";

/// Limits that allow many concurrent calls, each at 0.30 yuan.
fn gateway(folder: &Folder) -> Builder {
    let wide = |name: &str| format!("[providers.{name}]\nmax_concurrency = 10000\n{PRICE}");
    let many = "[enumeration]\nnumbers_per_client = 0\n[breaker]\nminimum_calls = 100000\n";
    folder.gateway().over(["aliyun", "yunyi"].map(wide).concat()).over(many).chain(&["aliyun"])
}

/// A client with this budget.
fn limited(name: &str, budget: &str) -> String {
    format!("{}rate_limit = 1000000\n[clients.{name}.budget]\n{budget}\n", client(name, name))
}

async fn ask(gateway: &TestGateway, client: &str, pair: &Pair) -> Reply {
    gateway.ask_with(pair, &[("authorization", &format!("Bearer {client}"))]).await
}

fn count(replies: &[Reply], code: &str) -> usize {
    replies.iter().filter(|reply| reply.code() == code).count()
}

#[tokio::test]
async fn a_hundred_calls_are_a_hundred_calls_however_many_ask_at_once_also_after_a_restart_and_until_a_reload() {
    let folder = Folder::new();
    let described = || gateway(&folder).over(limited("payout", "calls_per_day = 100")).over(client("other", "other"));
    let running = described().start().await;
    let people: Vec<_> = (0..500).map(|_| anybody()).collect();
    let replies = join_all(people.iter().map(|pair| ask(&running, "payout", pair))).await;
    assert_eq!(running.sandbox.calls("aliyun"), 100);
    assert_eq!((count(&replies, ""), count(&replies, "budget_exhausted")), (100, 400));
    let (good, refused) = (replies.iter().position(|reply| reply.code().is_empty()).unwrap(), &replies);
    let refused = refused.iter().find(|reply| reply.code() == "budget_exhausted").unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.attempts(), &refused.body["may_have_been_billed"]),
        (429, vec![], &false.into())
    );
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=24 * 60 * 60).contains(&wait), "{wait} seconds until midnight in China");
    assert_eq!(ask(&running, "payout", &people[good]).await.source(), "cache", "what is remembered costs nothing");
    assert_eq!(ask(&running, "other", &anybody()).await.verdict(), "match", "nobody else is concerned");
    let used = [("owner", "client"), ("name", "payout"), ("period", "day"), ("unit", "calls")];
    assert_eq!(running.metric("idgate_budget_used_ratio", &used).await, 1.0);
    assert!(running.stop().await);

    let file = folder.path().join("idgate.toml");
    let again = described().in_file(&file).start().await;
    assert_eq!(ask(&again, "payout", &anybody()).await.code(), "budget_exhausted");
    assert_eq!(again.metric("idgate_budget_used_ratio", &used).await, 1.0);
    again.rewrite(|text| text.replace("calls_per_day = 100", "calls_per_day = 103"));
    assert_eq!(again.reload().await.status, 200);
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(ask(&again, "payout", &anybody()).await);
    }
    assert_eq!((count(&answers, ""), count(&answers, "budget_exhausted")), (3, 2));
    // Amounts spent before a limit was configured count against it.
    again.rewrite(|text| text + "[clients.other.budget]\ncalls_per_month = 2\n");
    assert_eq!(again.reload().await.status, 200);
    assert_eq!(ask(&again, "other", &anybody()).await.verdict(), "match");
    assert_eq!(ask(&again, "other", &anybody()).await.code(), "budget_exhausted");
    assert!(again.stop().await);
    folder.assert_sound().await;
}

#[tokio::test]
async fn a_provider_that_has_had_its_money_is_passed_over_and_the_next_one_answers() {
    let folder = Folder::new();
    let running = gateway(&folder)
        .chain(&["aliyun", "yunyi"])
        .over("[providers.aliyun.budget]\nyuan_per_day = \"0.75\"\n[providers.yunyi.budget]\ncalls_per_month = 2")
        .start()
        .await;
    let mut attempts = Vec::new();
    for _ in 0..4 {
        attempts.push(running.ask(&anybody()).await.attempts());
    }
    let (first, next) =
        (["aliyun=verdict(yes)"].to_vec(), ["aliyun=skipped_budget(no)", "yunyi=verdict(yes)"].to_vec());
    assert_eq!(attempts, [first.clone(), first, next.clone(), next]);
    let nobody = running.ask(&anybody()).await;
    assert_eq!(nobody.code(), "no_provider_available");
    assert_eq!(nobody.attempts(), ["aliyun=skipped_budget(no)", "yunyi=skipped_budget(no)"]);
    assert!(nobody.header("retry-after").parse::<u64>().unwrap() <= 24 * 60 * 60, "the day ends before the month");
    let skipped = [("provider", "aliyun"), ("outcome", "skipped_budget")];
    assert_eq!(running.metric("idgate_attempts_total", &skipped).await, 3.0);
    assert!(running.stop().await);
}

#[tokio::test]
async fn a_client_without_money_joins_the_call_of_another_who_never_hears_of_it() {
    let folder = Folder::new();
    let running = gateway(&folder).over(limited("poor", "calls_per_day = 1")).over(limited("rich", "")).start().await;
    assert_eq!(ask(&running, "poor", &anybody()).await.verdict(), "match");
    assert_eq!(ask(&running, "poor", &anybody()).await.code(), "budget_exhausted");
    running.fault("aliyun", r#"{"kind": "slow", "delay": "300ms"}"#);
    let people: Vec<_> = (0..20).map(|_| anybody()).collect();
    // At the same time, so that either client may be the one that starts the call.
    let both = people.iter().map(async |pair| {
        let poor = || ask(&running, "poor", pair);
        tokio::join!(poor(), ask(&running, "rich", pair), poor())
    });
    for (poor, rich, _) in join_all(both).await {
        assert_eq!((rich.verdict(), rich.source()), ("match", "provider"), "{rich:?}");
        assert!(poor.code() == "budget_exhausted" || poor.source() == "shared", "{poor:?}");
    }
    assert_eq!(running.sandbox.calls("aliyun"), 1 + 20);
    let pair = anybody();
    let (rich, poor) = tokio::join!(ask(&running, "rich", &pair), async {
        eventually("the call is made", async || running.sandbox.calls("aliyun") == 1 + 21).await;
        ask(&running, "poor", &pair).await
    });
    assert_eq!((rich.source(), poor.source()), ("provider", "shared"));
    assert!(running.stop().await);
}

#[tokio::test]
async fn a_call_that_ends_late_is_settled_then_and_one_that_never_ends_as_one_that_may_be_billed() {
    let folder = Folder::new();
    let running = gateway(&folder)
        .over("[providers.aliyun]\nconnect_timeout = \"100ms\"\nattempt_timeout = \"100ms\"\ncall_limit = \"2s\"")
        .over(limited("payout", "yuan_per_day = \"0.30\""))
        .unlisted(Verdict::NoRecord)
        .start()
        .await;
    running.fault("aliyun", r#"{"kind": "slow", "delay": "1s"}"#);
    let used = [("name", "payout"), ("unit", "yuan")];
    let pair = anybody();
    let (late, other) = tokio::join!(ask(&running, "payout", &pair), async {
        eventually("the call is made", async || running.sandbox.calls("aliyun") == 1).await;
        assert_eq!(running.metric("idgate_budget_used_ratio", &used).await, 1.0, "all of it is reserved");
        ask(&running, "payout", &anybody()).await
    });
    assert_eq!((late.verdict(), other.code()), ("no_record", "budget_exhausted"));
    eventually("it has cost nothing", async || running.metric("idgate_budget_used_ratio", &used).await == 0.0).await;
    running.fault("aliyun", r#"{"kind": "hang"}"#);
    assert_eq!(ask(&running, "payout", &anybody()).await.code(), "outcome_unknown");
    let possible = [("provider", "aliyun"), ("client", "payout"), ("purpose", "default")];
    eventually("it may cost", async || running.metric("idgate_possible_cost_yuan_total", &possible).await == 0.3).await;
    assert_eq!(running.metric("idgate_cost_yuan_total", &possible).await, 0.0);
    assert_eq!(ask(&running, "payout", &anybody()).await.code(), "budget_exhausted");
    assert!(running.stop().await);
}

#[tokio::test]
async fn a_client_whose_money_ends_in_the_middle_of_a_chain_is_told_what_was_tried() {
    let folder = Folder::new();
    let running =
        gateway(&folder).chain(&["aliyun", "yunyi"]).over(limited("payout", "calls_per_day = 1")).start().await;
    running.fault("aliyun", r#"{"kind": "outcome", "outcome": "provider_error"}"#);
    let reply = ask(&running, "payout", &anybody()).await;
    assert_eq!(
        (reply.code(), reply.attempts()),
        ("budget_exhausted", vec!["aliyun=provider_error(unknown)".to_owned()])
    );
    assert_eq!((&reply.body["may_have_been_billed"], running.sandbox.calls("yunyi")), (&true.into(), 0));
    assert!(running.stop().await);
}

#[tokio::test]
async fn money_is_counted_as_the_provider_counts_it_and_a_second_bill_for_a_person_is_noticed() {
    let folder = Folder::new();
    let running = gateway(&folder).chain(&["aliyun", "yunyi"]).start().await;
    let people: Vec<_> = (0..20).map(|_| anybody()).collect();
    for (n, pair) in people.iter().enumerate() {
        match n {
            5 => running.fault("aliyun", r#"{"kind": "outcome", "outcome": "provider_error", "times": 3}"#),
            10 => running.fault("aliyun", r#"{"kind": "outcome", "outcome": "input_refused", "times": 3}"#),
            _ => {}
        }
        assert_eq!(running.ask(pair).await.source(), "provider");
    }
    assert_eq!(running.metric("idgate_duplicate_bills_total", &[]).await, 0.0);
    for pair in &people[..3] {
        assert_eq!(running.ask(pair).await.source(), "cache");
        assert_eq!(running.ask_with(pair, &[("cache-control", "no-cache")]).await.source(), "provider");
    }
    assert_eq!(running.metric("idgate_duplicate_bills_total", &[("provider", "aliyun")]).await, 3.0);
    for provider in ["aliyun", "yunyi"] {
        let cost = running.metric("idgate_cost_yuan_total", &[("provider", provider)]).await;
        let billed = running.sandbox.verdicts(provider) as f64;
        assert!((cost - billed * 0.30).abs() < 1e-9, "{provider}: {cost} yuan for {billed} calls");
    }
    let forget = format!("http://{}/v1/subjects/forget", running.admin);
    let body = people[0].body().to_string();
    let forgotten =
        running.http.post(forget).header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(forgotten.status(), 200);
    assert_eq!(running.ask(&people[0]).await.source(), "provider");
    assert_eq!(running.metric("idgate_duplicate_bills_total", &[]).await, 3.0, "a forgotten person was never billed");
    let possible = running.metric("idgate_possible_cost_yuan_total", &[("provider", "aliyun")]).await;
    assert!((possible - 0.90).abs() < 1e-9, "{possible}");
    let saved = running.metric("idgate_saved_yuan_total", &[("reason", "cache")]).await;
    assert!((saved - 0.90).abs() < 1e-9, "{saved}");
    let key = [("idempotency-key", "k-1")];
    let pair = anybody();
    let first = running.ask_with(&pair, &key).await;
    assert_eq!(running.ask_with(&pair, &key).await.header("idempotency-replayed"), "true");
    assert_eq!(running.metric("idgate_saved_yuan_total", &[("reason", "idempotent")]).await, 0.3);
    let id = first.body["verification_id"].as_str().unwrap();
    let found = super::get_as_operator(&running, &format!("/v1/verifications/{id}")).await;
    assert_eq!(
        (&found.body["cost_micro_yuan"], &found.body["possible_cost_micro_yuan"]),
        (&300_000.into(), &300_000.into())
    );
    assert!(running.stop().await);
}

#[tokio::test]
async fn a_package_counts_down_over_restarts_and_a_provider_that_says_it_is_used_up_is_believed() {
    let folder = Folder::new();
    let package = |id: &str, calls: u32, ends: &str| {
        format!(
            "[[providers.yunyi.packages]]\nid = \"{id}\"\ncalls = {calls}\nbought = \"2020-01-01\"\nends = {ends}\n"
        )
    };
    let (one, two) = (package("one", 10, "\"2098-12-31\""), package("two", 1000, "2099-12-31"));
    // All packages go into one overlay, because a later overlay would replace the array.
    let described =
        |packages: &str| gateway(&folder).chain(&["yunyi"]).over("[ledger]\nkeep = \"40000 days\"").over(packages);
    let left = async |running: &TestGateway| {
        let of = async |id| {
            running.metric("idgate_package_remaining_calls", &[("provider", "yunyi"), ("package", id)]).await
        };
        (of("one").await, of("two").await)
    };
    let running = described(&one).start().await;
    for _ in 0..7 {
        running.ask(&anybody()).await;
    }
    assert_eq!(left(&running).await, (3.0, 0.0));
    let days = running.metric("idgate_package_days_left", &[("package", "one")]).await;
    assert!((0.2..=1.0).contains(&days), "three left, seven today: {days}");
    assert!(running.stop().await);

    let file = folder.path().join("idgate.toml");
    let running = described("").in_file(&file).start().await;
    running.ask(&anybody()).await;
    assert_eq!(left(&running).await, (0.0, 0.0), "nobody has bought anything, as far as it knows");
    running.rewrite(|text| format!("{text}\n{one}{two}"));
    assert_eq!(running.reload().await.status, 200);
    assert_eq!(left(&running).await, (2.0, 1000.0));
    for _ in 0..5 {
        running.ask(&anybody()).await;
    }
    assert_eq!(left(&running).await, (0.0, 997.0));
    running.fault("yunyi", r#"{"kind": "outcome", "outcome": "account_fault", "reason": "quota_used_up"}"#);
    running.ask(&anybody()).await;
    assert_eq!(left(&running).await, (0.0, 0.0));
    assert!(running.stop().await);

    let running = described(&(one + &two)).start().await;
    assert_eq!(left(&running).await, (0.0, 0.0));
    assert_eq!(running.metric("idgate_package_days_left", &[]).await, 0.0);
    assert!(running.stop().await);
}

#[tokio::test]
async fn free_packages_count_down_and_calls_cost_what_their_package_cost() {
    const FREE: &str = "price_yuan = { match = \"0\", mismatch = \"0\", no_record = \"0\" }\n";
    let folder = Folder::new();
    let package = |of: &str, id: &str, calls: u32, price: &str, ends: u32| {
        format!(
            "[[providers.{of}.packages]]\nid = \"{id}\"\ncalls = {calls}\nprice_yuan = \"{price}\"\n\
             bought = \"2020-01-01\"\nends = \"{ends}-12-31\"\n"
        )
    };
    let described = || {
        // Seed 004 begins with 500 free calls and has no other price here; seed 002 sells 2,500 calls at 4 fen.
        let free = format!("[providers.aliyun]\n{FREE}") + &package("aliyun", "trial", 500, "0", 2098);
        let paid = package("yunyi", "third", 3, "1", 2097) + &package("yunyi", "four-fen", 2500, "100", 2098);
        let keeps = "[ledger]\nkeep = \"40000 days\"\n[clients.payout.budget]\nyuan_per_month = \"100\"\n";
        let clients = client("payout", "payout") + &client("other", "other");
        gateway(&folder).chain(&["aliyun", "yunyi"]).over(clients).over(keeps).over(free + &paid)
    };
    let left =
        async |running: &TestGateway, id| running.metric("idgate_package_remaining_calls", &[("package", id)]).await;
    let spent = async |running: &TestGateway| {
        let share = running.metric("idgate_budget_used_ratio", &[("name", "payout"), ("unit", "yuan")]).await;
        (share * 100.0 * 1e6).round()
    };
    let running = described().start().await;
    let first = ask(&running, "payout", &anybody()).await;
    assert_eq!(first.attempts(), ["aliyun=verdict(yes)"], "billed, at nothing");
    ask(&running, "payout", &anybody()).await;
    assert_eq!((left(&running, "trial").await, spent(&running).await), (498.0, 0.0));
    assert_eq!(running.metric("idgate_package_remaining_ratio", &[("package", "trial")]).await, 0.996);
    let ends = running.metric("idgate_package_end_timestamp_seconds", &[("package", "trial")]).await;
    assert_eq!(ends, 4_070_908_800.0 - 8.0 * 3600.0, "the end of its last day in China");
    running.admin_post("/v1/providers/aliyun/isolate").await;
    let mut costs = Vec::new();
    for _ in 0..4 {
        let before = spent(&running).await;
        assert_eq!(ask(&running, "payout", &anybody()).await.verdict(), "match");
        costs.push(spent(&running).await - before);
    }
    assert_eq!(costs, [333_333.0, 333_333.0, 333_334.0, 40_000.0]);
    // Nobody knows whether this one is billed: it may cost as much as the dearest call, and counts no
    // package down.
    running.fault("yunyi", r#"{"kind": "outcome", "outcome": "provider_error", "times": 1}"#);
    ask(&running, "payout", &anybody()).await;
    assert_eq!((spent(&running).await, left(&running, "four-fen").await), (1_373_334.0, 2499.0));
    assert!(running.stop().await);

    let again = described().start().await;
    assert_eq!((left(&again, "trial").await, left(&again, "third").await), (498.0, 0.0));
    assert_eq!((spent(&again).await, left(&again, "four-fen").await), (1_373_334.0, 2499.0));
    again.admin_post("/v1/providers/aliyun/isolate").await;
    assert_eq!(ask(&again, "payout", &anybody()).await.verdict(), "match");
    assert_eq!(spent(&again).await, 1_413_334.0);
    assert!(again.stop().await);
    folder.assert_sound().await;
}
