//! `Idempotency-Key` with a ledger: what survives a restart, and what forgetting a person ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::join_all;
use idgate::domain::clock::Clock;
use idgate::storage::ledger::Entry;
use jiff::{SignedDuration, Timestamp};

use super::{Folder, client, connection, eventually};
use crate::support::{Builder, Pair, Reply, TestGateway, anybody, person};

const KEY: (&str, &str) = ("idempotency-key", "k-1");
const NO_CACHE: (&str, &str) = ("cache-control", "no-cache");

fn replayed(reply: &Reply) -> bool {
    reply.header("idempotency-replayed") == "true"
}

async fn forget(gateway: &TestGateway, pair: &Pair) -> Reply {
    let url = format!("http://{}/v1/subjects/forget", gateway.admin);
    let request = gateway.http.post(url).header("content-type", "application/json");
    Reply::of(request.body(pair.body().to_string()).send().await.unwrap()).await
}

async fn start(folder: &Folder) -> TestGateway {
    folder.gateway().chain(&["aliyun"]).start().await
}

async fn claims(folder: &Folder) -> usize {
    folder.entries().await.iter().filter(|entry| matches!(entry, Entry::Claim(_))).count()
}

#[tokio::test]
async fn who_leaves_while_the_answer_is_written_has_finished_the_key_and_pays_once() {
    let folder = Folder::new();
    let nothing_remembered = "[cache]\nmatch_ttl = \"0s\"";
    let gateway = folder.gateway().chain(&["aliyun"]).over(nothing_remembered).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "200ms", "times": 1}"#);
    let pair = anybody();
    let url = format!("http://{}/v1/verify", gateway.public);
    let request = gateway.http.post(url).header("content-type", "application/json").header(KEY.0, KEY.1);
    let asking = tokio::spawn(request.body(pair.body().to_string()).send());
    eventually("the call is under way", async || gateway.sandbox.calls("aliyun") == 1).await;
    // While another connection locks the database, the answer cannot be written to it.
    let mut other = connection(&folder).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let billed = [("provider", "aliyun"), ("billed", "yes")];
    eventually("it has answered", async || gateway.metric("idgate_billed_calls_total", &billed).await > 0.0).await;
    asking.abort();
    let _ = asking.await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let retry = gateway.ask_with(&pair, &[KEY, NO_CACHE]).await;
    assert_eq!((retry.verdict(), gateway.sandbox.calls("aliyun")), ("match", 1), "{retry:?}");
    assert!(replayed(&retry), "{retry:?}");
    assert!(gateway.stop().await);
    let again = start(&folder).await;
    let after = again.ask_with(&pair, &[KEY]).await;
    assert!(replayed(&after));
    assert_eq!(after.body["verification_id"], retry.body["verification_id"], "the same after a restart");
}

#[tokio::test]
async fn a_key_whose_caller_left_before_the_verdict_came_is_paid_once_also_after_a_restart() {
    for restarts in [false, true] {
        let folder = Folder::new();
        // The cache is no help.
        let start = async || folder.gateway().chain(&["aliyun"]).over("[cache]\nmatch_ttl = \"0s\"").start().await;
        let mut gateway = start().await;
        gateway.fault("aliyun", r#"{"kind": "slow", "delay": "300ms", "times": 1}"#);
        let pair = anybody();
        let url = format!("http://{}/v1/verify", gateway.public);
        let request = gateway.http.post(url).header("content-type", "application/json").header(KEY.0, KEY.1);
        let asking = tokio::spawn(request.body(pair.body().to_string()).send());
        eventually("the call is under way", async || gateway.sandbox.calls("aliyun") == 1).await;
        asking.abort();
        let _ = asking.await;
        let billed = [("provider", "aliyun"), ("billed", "yes")];
        eventually("it has answered", async || gateway.metric("idgate_billed_calls_total", &billed).await > 0.0).await;
        let mut calls = 1;
        if restarts {
            assert!(gateway.stop().await);
            gateway = start().await;
            calls = 0;
        }
        for (more, is_replayed) in [(&[KEY, NO_CACHE][..], false), (&[KEY], true)] {
            let retry = gateway.ask_with(&pair, more).await;
            assert_eq!((retry.verdict(), gateway.sandbox.calls("aliyun")), ("match", calls), "{restarts}: {retry:?}");
            assert_eq!((retry.source(), replayed(&retry)), ("cache", is_replayed), "{retry:?}");
        }
        assert_eq!(gateway.ask(&pair).await.source(), "provider", "another question is not answered by that");
        assert!(gateway.stop().await);
        folder.assert_sound().await;
    }
}

#[tokio::test]
async fn a_restart_between_call_and_retry_keeps_the_whole_answer() {
    let folder = Folder::new();
    let gateway = folder.gateway().chain(&["yunyi", "aliyun"]).start().await;
    // A failed attempt with a detailed reason before the verdict, a converted number, and the person.
    gateway.fault("yunyi", r#"{"kind": "garbage"}"#);
    let mut body = Pair::new("张三", "110105491231002").body();
    (body["include_person"], body["reference"]) = (true.into(), "r-1".into());
    let ask = async |gateway: &TestGateway, more: &[(&str, &str)]| {
        gateway.post(body.to_string(), &[&[KEY][..], more].concat()).await
    };
    let first = ask(&gateway, &[]).await;
    assert_eq!((first.verdict(), first.source(), replayed(&first)), ("match", "provider", false));
    assert_eq!(first.attempts().len(), 2);
    assert!(gateway.stop().await);
    let again = folder.gateway().chain(&["yunyi", "aliyun"]).start().await;
    for more in [&[][..], &[NO_CACHE], &[("cache-control", "only-if-cached")]] {
        let retry = ask(&again, more).await;
        assert_eq!(retry.body, first.body, "the whole answer, its verification_id above all");
        assert!(replayed(&retry));
    }
    assert_eq!((again.sandbox.calls("aliyun"), again.sandbox.calls("yunyi")), (0, 0));
    assert_eq!(again.metric("idgate_calls_avoided_total", &[("reason", "idempotent")]).await, 3.0);
    assert!(again.stop().await);
    assert_eq!(claims(&folder).await, 1);
    folder.assert_sound().await;
}

#[tokio::test]
async fn another_body_is_refused_also_after_a_restart_and_the_right_one_is_answered_beside_it() {
    let folder = Folder::new();
    let gateway = start(&folder).await;
    let pair = anybody();
    let id = gateway.ask_with(&pair, &[KEY]).await.body["verification_id"].clone();
    assert_eq!(gateway.ask_with(&anybody(), &[KEY]).await.code(), "idempotency_key_reused");
    assert!(gateway.stop().await);
    let again = start(&folder).await;
    let other = anybody();
    let asked = (0..20).map(|n| again.ask_with(if n % 2 == 0 { &other } else { &pair }, &[KEY]));
    for (n, reply) in join_all(asked).await.into_iter().enumerate() {
        if n % 2 == 0 {
            assert_eq!((reply.status.as_u16(), reply.code()), (422, "idempotency_key_reused"));
        } else {
            assert_eq!((replayed(&reply), &reply.body["verification_id"]), (true, &id));
        }
    }
    assert_eq!(again.sandbox.calls("aliyun"), 0);
    assert!(again.stop().await);
}

#[tokio::test]
async fn a_failure_is_not_final_also_after_a_restart() {
    let folder = Folder::new();
    let gateway = start(&folder).await;
    let pair = anybody();
    gateway.fault("aliyun", r#"{"kind": "status", "status": 500, "times": 1}"#);
    assert_eq!(gateway.ask_with(&pair, &[KEY]).await.code(), "provider_failure");
    assert!(gateway.stop().await);
    let again = start(&folder).await;
    assert_eq!(again.ask_with(&anybody(), &[KEY]).await.code(), "idempotency_key_reused", "it stays with its body");
    let retry = again.ask_with(&pair, &[KEY]).await;
    assert_eq!((retry.verdict(), replayed(&retry)), ("match", false));
    assert_eq!(again.ask_with(&pair, &[KEY]).await.body, retry.body);
    assert!(again.stop().await);
    assert_eq!(claims(&folder).await, 1, "the claim of the first try holds");
    let last = start(&folder).await;
    assert_eq!(last.ask_with(&pair, &[KEY]).await.body, retry.body);
    assert!(last.stop().await);
}

#[tokio::test]
async fn the_keys_of_two_clients_are_independent_on_the_disk_too() {
    let folder = Folder::new();
    let two = || folder.gateway().chain(&["aliyun"]).over(client("one", "idg_a") + &client("two", "idg_b"));
    let ask = async |gateway: &TestGateway, key: &str, pair: &Pair| {
        gateway.ask_with(pair, &[("authorization", &format!("Bearer {key}")), KEY]).await
    };
    let (one, other) = (anybody(), anybody());
    let gateway = two().start().await;
    let first = ask(&gateway, "idg_a", &one).await;
    let second = ask(&gateway, "idg_b", &other).await;
    assert_eq!((first.verdict(), second.verdict()), ("match", "match"));
    assert!(gateway.stop().await);
    let again = two().start().await;
    assert_eq!(ask(&again, "idg_a", &one).await.body, first.body);
    assert_eq!(ask(&again, "idg_b", &other).await.body, second.body);
    assert_eq!(ask(&again, "idg_b", &one).await.code(), "idempotency_key_reused");
    assert!(again.stop().await);
}

#[tokio::test]
async fn two_hundred_at_once_are_one_claim_one_call_and_one_id_before_and_after_a_restart() {
    let folder = Folder::new();
    let pair = anybody();
    let ids = async |gateway: &TestGateway| {
        let replies = join_all((0..200).map(|_| gateway.ask_with(&pair, &[KEY, NO_CACHE]))).await;
        replies.iter().map(|reply| reply.body["verification_id"].to_string()).collect::<BTreeSet<_>>()
    };
    let gateway = start(&folder).await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "200ms"}"#);
    let first = ids(&gateway).await;
    assert_eq!((first.len(), gateway.sandbox.calls("aliyun")), (1, 1));
    assert!(gateway.stop().await);
    let again = start(&folder).await;
    assert_eq!(ids(&again).await, first);
    assert_eq!(again.sandbox.calls("aliyun"), 0);
    assert!(again.stop().await);
    assert_eq!(claims(&folder).await, 1);
    let answers = folder.in_short().await.into_iter().filter(|entry| entry.starts_with("answer")).count();
    assert_eq!(answers, 1);
}

#[tokio::test]
async fn an_answer_from_memory_that_finishes_a_key_is_durable_when_it_is_told() {
    let folder = Folder::new();
    let gateway = start(&folder).await;
    let pair = anybody();
    assert_eq!(gateway.ask(&pair).await.source(), "provider");
    for n in 0..10 {
        let reply = gateway.ask_with(&pair, &[("idempotency-key", &format!("k-{n}"))]).await;
        assert_eq!(reply.source(), "cache");
        let entries = folder.entries().await;
        let [.., Entry::Claim(claim), Entry::Answer(answer)] = &entries[..] else { panic!("{entries:#?}") };
        assert_eq!(
            (answer.claim, answer.id.to_string()),
            (Some(claim.id), reply.body["verification_id"].as_str().unwrap().into())
        );
    }
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_forgotten_persons_key_neither_replays_nor_blocks_also_after_a_restart() {
    let folder = Folder::new();
    let gateway = start(&folder).await;
    let (pair, other) = (anybody(), anybody());
    let more = ("idempotency-key", "k-2");
    gateway.ask_with(&pair, &[KEY]).await;
    let second = gateway.ask_with(&pair, &[more]).await;
    let others = gateway.ask_with(&other, &[("idempotency-key", "k-3")]).await;
    assert!(gateway.stop().await);
    let again = start(&folder).await;
    let reply = forget(&again, &pair).await;
    assert_eq!(reply.body["forgotten"]["replays"], 2, "{reply:?}");
    assert!(matches!(folder.entries().await.last(), Some(Entry::Forgotten(done)) if done.operator == "local"));
    assert_eq!(forget(&again, &pair).await.body["forgotten"]["replays"], 0, "there is nothing left");
    let taken = again.ask_with(&other, &[KEY]).await;
    assert_eq!((taken.verdict(), replayed(&taken)), ("match", false), "another body may have it");
    assert!(again.stop().await);
    let last = start(&folder).await;
    let asked = last.ask_with(&pair, &[more]).await;
    assert_eq!((asked.source(), replayed(&asked)), ("provider", false));
    assert_ne!(asked.body["verification_id"], second.body["verification_id"]);
    assert_eq!(last.ask_with(&other, &[KEY]).await.body, taken.body);
    assert_eq!(last.ask_with(&other, &[("idempotency-key", "k-3")]).await.body, others.body);
    assert!(last.stop().await);
}

#[tokio::test]
async fn a_key_ends_after_a_day_by_the_clock_of_its_claim_whatever_memory_holds() {
    const HOUR: i64 = 60 * 60 * 1000;
    let folder = Folder::new();
    let began = Timestamp::now().as_millisecond();
    let now = Arc::new(AtomicI64::new(began));
    let moved = Arc::clone(&now);
    let clock = Clock::new(move || Timestamp::from_millisecond(moved.load(Ordering::SeqCst)).unwrap());
    // A provider that does not check our clock.
    let gateway = |builder: Builder| builder.chain(&["yunyi"]).clock(clock.clone()).start();
    let pair = anybody();
    let first_day = gateway(folder.gateway()).await;
    let first = first_day.ask_with(&pair, &[KEY]).await;
    assert!(first_day.stop().await);
    now.store(began + 23 * HOUR, Ordering::SeqCst);
    let again = gateway(folder.gateway()).await;
    assert_eq!(again.ask_with(&pair, &[KEY]).await.body, first.body);
    now.store(began - HOUR, Ordering::SeqCst);
    assert_eq!(again.ask_with(&pair, &[KEY]).await.body, first.body, "a clock that goes back ends nothing");
    // Memory has had the key for only an hour, since the restart.
    now.store(began + 24 * HOUR + 1, Ordering::SeqCst);
    let next = again.ask_with(&anybody(), &[KEY]).await;
    assert_eq!((next.verdict(), replayed(&next)), ("match", false));
    assert!(again.stop().await);
    assert_eq!(claims(&folder).await, 2);
}

#[tokio::test]
async fn a_key_whose_answer_is_too_old_for_its_client_begins_anew_and_keeps_the_new_answer() {
    let folder = Folder::new();
    let began = Timestamp::now();
    let one = client("one", "idg_a") + "longest_max_age = \"1m\"\n";
    let gateway = async |minutes: i64| {
        let clock = Clock::fixed(began + SignedDuration::from_mins(minutes));
        folder.gateway().chain(&["yunyi"]).over(one.clone()).clock(clock).start().await
    };
    let pair = anybody();
    let ask = async |gateway: &TestGateway| gateway.ask_with(&pair, &[("authorization", "Bearer idg_a"), KEY]).await;
    let early = gateway(0).await;
    let first = ask(&early).await;
    assert!(early.stop().await);
    let later = gateway(2).await;
    let second = ask(&later).await;
    assert_eq!((second.source(), replayed(&second)), ("provider", false));
    assert_ne!(first.body["verification_id"], second.body["verification_id"]);
    assert_eq!(ask(&later).await.body, second.body);
    assert!(later.stop().await);
    let last = gateway(2).await;
    assert_eq!(ask(&last).await.body, second.body);
    assert!(last.stop().await);
    assert_eq!(claims(&folder).await, 2);
}

#[tokio::test]
async fn while_the_database_is_locked_keys_are_claimed_in_the_spool_and_forgetting_ends_them_there() {
    let folder = Folder::new();
    let gateway = start(&folder).await;
    let (before, pair, kept) = (anybody(), anybody(), anybody());
    gateway.ask_with(&before, &[("idempotency-key", "k-0")]).await;
    let mut other = connection(&folder).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let first = gateway.ask_with(&pair, &[KEY]).await;
    let second = gateway.ask_with(&kept, &[("idempotency-key", "k-2")]).await;
    assert_eq!((first.source(), second.source()), ("provider", "provider"));
    // The gateway drops these keys from memory with the person; their record stays in the database or in the spool.
    for (person, key) in [(&before, "k-0"), (&pair, "k-1")] {
        assert_eq!(forget(&gateway, person).await.status, 200);
        let taken = gateway.ask_with(&anybody(), &[("idempotency-key", key)]).await;
        assert_eq!((taken.verdict(), replayed(&taken)), ("match", false), "{key}");
    }
    assert!(!folder.spooled().is_empty());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(gateway.stop().await);
    let again = start(&folder).await;
    assert_eq!(again.ask_with(&kept, &[("idempotency-key", "k-2")]).await.body, second.body);
    assert_eq!(again.ask_with(&pair, &[KEY]).await.code(), "idempotency_key_reused", "it is another's now");
    assert!(again.stop().await);
    folder.assert_sound().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_looked_up_calls_nobody_and_memory_goes_on() {
    let folder = Folder::new();
    let gateway = start(&folder).await;
    let pair = anybody();
    assert_eq!(gateway.ask(&pair).await.source(), "provider");
    let mut other = connection(&folder).await;
    sqlx::raw_sql("ALTER TABLE entries RENAME TO elsewhere").execute(&mut other).await.unwrap();
    let refused = gateway.ask_with(&anybody(), &[KEY]).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "ledger_unavailable"));
    assert_eq!((refused.header("retry-after"), &refused.body["may_have_been_billed"]), ("1", &false.into()));
    assert_eq!(gateway.ask_with(&pair, &[("idempotency-key", "k-2")]).await.source(), "cache");
    let fresh = gateway.ask_with(&pair, &[("idempotency-key", "k-2"), NO_CACHE]).await;
    assert_eq!(fresh.code(), "ledger_unavailable");
    assert_eq!(forget(&gateway, &anybody()).await.status, 200, "the spool takes it");
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
    sqlx::raw_sql("ALTER TABLE elsewhere RENAME TO entries").execute(&mut other).await.unwrap();
    eventually("it works again by itself", async || {
        gateway.ask_with(&anybody(), &[("idempotency-key", "k-3")]).await.status == 200
    })
    .await;
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn neither_a_key_nor_a_body_is_in_the_files_that_keep_them() {
    let folder = Folder::new();
    let gateway = start(&folder).await;
    let pair = Pair::new("龘靐齉", &person(700_001).id_number);
    let key = ("idempotency-key", "a-canary-of-a-key");
    assert_eq!(gateway.ask_with(&pair, &[key]).await.verdict(), "match");
    forget(&gateway, &pair).await;
    assert!(gateway.stop().await);
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    for format in ["jsonl", "csv"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_idgate"));
        let exported =
            command.args(["ledger", "export", "--format", format, "--file", &folder.file()]).output().unwrap();
        assert!(exported.status.success(), "{exported:?}");
        let text = String::from_utf8(exported.stdout).unwrap();
        assert!(text.contains("claimed") && text.contains("forgotten"), "{text}");
        if format == "csv" {
            let columns = text.lines().next().unwrap().matches(',').count();
            assert!(text.lines().all(|line| line.matches(',').count() == columns), "{text}");
        }
        bytes.extend(text.into_bytes());
    }
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("claimed"), "what is there would be found");
    for canary in [key.1, &pair.name, &pair.id_number, &pair.id_number[6..17]] {
        assert!(!holds(canary), "{canary}");
    }
}
