//! What comes late: verdicts after an outage or a takeover, retries after an unknown ending, a second bill, a new password,
//! messages faster than they are read.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use idgate::domain::clock::{Clock, Ids};
use idgate::domain::personal::Secret;
use idgate::domain::verdict::Verdict;
use idgate::storage::shared::{Bill, Event, Look, Password, Patience, Shared, Told, Wanted};
use jiff::Timestamp;
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{Replica, key, lease, look, person, section, verdict};
use crate::support::eventually;
use crate::support::services::{Forwarder, RedisServer, Traffic};

const SECOND: Duration = Duration::from_secs(1);

/// A question of a flight of its own.
fn wanted(replica: &Replica, n: u32) -> Wanted {
    Wanted { flight: Uuid::new_v4(), ..super::wanted(replica, n) }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_verdict_that_could_not_be_told_is_told_when_redis_is_back_if_it_still_lives() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let (one, other) = (Replica::up(&forwarder.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let questions = [1, 2, 3, 4].map(|n| wanted(&one, n));
    let mut leases = Vec::new();
    for question in &questions {
        leases.push(lease(&one, question).await);
    }
    forwarder.set(Traffic::Stalls);
    eventually("it is away", async || !one.shared.is_up()).await;
    let given = verdict(Verdict::Match, Timestamp::now());
    let lives = [60 * SECOND, 60 * SECOND, Duration::ZERO, 60 * SECOND];
    for (lease, life) in leases.iter().zip(lives) {
        assert!(one.shared.land(lease, Told::Verdict(&given, life), &Patience::of(SECOND)).await.is_err());
    }
    // Forgotten meanwhile.
    one.shared.forget_here(&person(2));
    forwarder.set(Traffic::Flows);
    let known = async |n: usize| {
        matches!(look(&other, &Wanted { may_lead: false, ..questions[n] }).await, Look::Known(_) | Look::Ended(..))
    };
    eventually("the last is told", async || known(3).await).await;
    assert_eq!((known(0).await, known(1).await, known(2).await), (true, false, false));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_landing_that_nobody_waits_for_is_sent_again_if_its_connection_was_lost() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let (one, other) = (Replica::up(&forwarder.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let question = wanted(&one, 1);
    let mine = lease(&one, &question).await;
    assert!(mine.is_granted());
    assert!(
        !one.shared.presumed(&question).unwrap().is_granted(),
        "then another's verdict may stay: that is asked first"
    );
    forwarder.set(Traffic::Stalls);
    one.shared.land_behind(&mine, Told::Verdict(&verdict(Verdict::Match, Timestamp::now()), 60 * SECOND));
    eventually("it is away", async || !one.shared.is_up()).await;
    forwarder.cut();
    forwarder.set(Traffic::Flows);
    let known = async || matches!(look(&other, &Wanted { may_lead: false, ..question }).await, Look::Known(_));
    eventually("the other knows", known).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_late_owner_hears_the_verdict_that_stays() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let question = Wanted { lease: Duration::from_millis(1), ..wanted(&one, 1) };
    let late = lease(&one, &question).await;
    let free = async || matches!(look(&one, &Wanted { may_lead: false, ..question }).await, Look::Nothing);
    eventually("its lease has ended", free).await;
    let question = Wanted { lease: 20 * SECOND, ..question };
    let second = lease(&other, &Wanted { flight: Uuid::new_v4(), ..question }).await;
    let (stays, patience) = (verdict(Verdict::Match, Timestamp::now()), Patience::of(10 * SECOND));
    let landed = other.shared.land(&second, Told::Verdict(&stays, 60 * SECOND), &patience).await.unwrap();
    assert!(landed.is_ours && landed.stays.is_none());
    let ours = verdict(Verdict::Mismatch, Timestamp::now());
    let landed = one.shared.land(&late, Told::Verdict(&ours, 60 * SECOND), &patience).await.unwrap();
    assert!(!landed.is_ours);
    assert_eq!(landed.stays.map(|stays| stays.verdict), Some(Verdict::Match));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_ending_that_may_yet_be_billed_is_known_to_all_until_a_verdict_comes() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let (question, patience) = (wanted(&one, 1), Patience::of(20 * SECOND));
    let failed = |again| Told::Failed { kind: 7, retry: SECOND, client: [0; 8], may_be_billed: true, again };
    let mine = lease(&one, &question).await;
    one.shared.land(&mine, failed(Some((7, 60 * SECOND))), &patience).await.unwrap();
    let again = Wanted { flight: Uuid::new_v4(), ..question };
    match look(&other, &again).await {
        Look::Unanswered { kind: 7, left } => assert!(left > 50 * SECOND, "{left:?}"),
        other => panic!("{other:?}"),
    }
    // `no-cache` asks all the same, and its verdict ends it.
    let forced = Wanted { recalls: false, ..again };
    let second = lease(&other, &forced).await;
    other
        .shared
        .land(&second, Told::Verdict(&verdict(Verdict::Match, Timestamp::now()), SECOND), &patience)
        .await
        .unwrap();
    assert!(matches!(look(&one, &again).await, Look::Known(_)));
    // One that is free may be asked again at once.
    let free = wanted(&one, 2);
    let third = lease(&one, &free).await;
    one.shared.land(&third, failed(None), &patience).await.unwrap();
    lease(&other, &free).await;
    // Nothing of it is left of somebody who is forgotten.
    let question = wanted(&one, 3);
    let fourth = lease(&one, &question).await;
    one.shared.land(&fourth, failed(Some((7, 60 * SECOND))), &patience).await.unwrap();
    one.shared.forget(person(3), person(99), SECOND).await;
    lease(&other, &question).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn who_leaves_has_told_everything() {
    let redis = RedisServer::start();
    let other = Replica::up(&redis.address(), "other").await;
    let tells_and_leaves = async |n| {
        let forwarder = Forwarder::to(&redis.socket());
        let one = Replica::up(&forwarder.address(), "one").await;
        let question = wanted(&one, n);
        let mine = lease(&one, &question).await;
        forwarder.set(Traffic::Stalls);
        one.shared.land_behind(&mine, Told::Verdict(&verdict(Verdict::Match, Timestamp::now()), 60 * SECOND));
        eventually("it is away", async || !one.shared.is_up()).await;
        forwarder.cut();
        forwarder.set(Traffic::Flows);
        eventually("it is back", async || one.shared.is_up()).await;
        // The landing would be sent again at some time in the next 100 ms.
        one.shared.leave().await;
        drop(one);
        assert!(matches!(look(&other, &Wanted { may_lead: false, ..question }).await, Look::Known(_)));
    };
    futures_util::future::join_all((1..=8).map(tells_and_leaves)).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_bill_finds_the_one_before_it_if_another_replica_paid_that() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let bill = |n| Bill {
        provider: Arc::from("aliyun"),
        verification: Uuid::from_u128(n),
        verdict: Some(Verdict::NoRecord),
        at_ms: 1_790_000_000_000,
        window: 60 * SECOND,
    };
    let (found, mut finds) = mpsc::unbounded_channel();
    let put = async |replica: &Replica, n| {
        let (found, sent) = (found.clone(), replica.counted("idgate_shared_commands_total", "bill"));
        replica.shared.bill(person(1), &bill(n), 60 * SECOND, move |before| found.send(before).unwrap());
        let is_answered = async || replica.counted("idgate_shared_commands_total", "bill") > sent;
        eventually("it is compared", is_answered).await;
    };
    put(&one, 1).await;
    put(&one, 2).await;
    assert!(finds.try_recv().is_err(), "a replica compares its own");
    put(&other, 3).await;
    assert_eq!(finds.try_recv().unwrap(), bill(2));
    put(&one, 4).await;
    assert_eq!(finds.try_recv().unwrap(), bill(3));
    one.shared.forget(person(1), person(99), SECOND).await;
    put(&other, 5).await;
    put(&one, 6).await;
    assert!(finds.try_recv().is_err(), "nothing is kept of who is forgotten");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn each_connection_reads_the_password_anew() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("password-{}", Uuid::new_v4()));
    let set = async |password: &str| {
        std::fs::write(&file, format!("{password}\n")).unwrap();
        let mut raw = redis.connect().await;
        let user = ["SETUSER", "idgate", "resetpass", &format!(">{password}"), "on", "~*", "&*", "+@all"];
        redis::cmd("ACL").arg(&user).query_async::<()>(&mut raw).await.unwrap();
    };
    set("first").await;
    let password = Password::new(Some(Secret::new("first".to_owned())), Some(file.clone()));
    let config = idgate::storage::shared::Section { user: Some("idgate".to_owned()), ..section(&forwarder.address()) }
        .finish(password, idgate::storage::shared::Tls::default(), "one".to_owned(), NonZeroU32::new(3).unwrap())
        .unwrap();
    let (clock, ids) = (Clock::new(Timestamp::now), Ids::new(Uuid::new_v4, Uuid::now_v7));
    let shared = Shared::new(config, (&key(), &clock, &ids), &Registry::new()).unwrap();
    let (sender, _events) = mpsc::channel(100);
    let runs = shared.clone();
    let _running = AbortOnDropHandle::new(tokio::spawn(async move { runs.run(sender).await }));
    eventually("it is connected", async || shared.is_up()).await;
    forwarder.set(Traffic::Stalls);
    eventually("it is away", async || !shared.is_up()).await;
    set("second").await;
    forwarder.set(Traffic::Flows);
    eventually("it is connected anew", async || shared.is_up()).await;
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn messages_that_come_too_fast_are_missed_aloud_and_strangers_do_not_fill_the_memory() {
    let redis = RedisServer::start();
    let mut one = Replica::up(&redis.address(), "one").await;
    let mut raw = redis.connect().await;
    let mut pipe = redis::pipe();
    let message = [b"Q", &person(1).as_bytes()[..], &[0; 8], &[9; 24]].concat();
    for _ in 0..3000 {
        pipe.cmd("PUBLISH").arg(format!("idgate1:{}:bus", key().id())).arg(&message).ignore();
    }
    // Nobody takes them: there is room for a thousand.
    pipe.query_async::<()>(&mut raw).await.unwrap();
    eventually("it is given up", async || one.events.len() == 1000).await;
    let missed = async { while one.events.recv().await.unwrap() != Event::Missed {} };
    tokio::time::timeout(20 * SECOND, missed).await.unwrap();
    eventually("it is connected again", async || one.shared.is_up()).await;
    let mut pipe = redis::pipe();
    let said = serde_json::json!({
        "incarnation": "0000000000000001", "beat": 1, "version": "0", "format": 1, "digest_key": "", "configuration": "",
        "sections": {},
    });
    for n in 0..1000 {
        pipe.cmd("HSET").arg("idgate1:members").arg(format!("stranger-{n}")).arg(said.to_string()).ignore();
    }
    pipe.query_async::<()>(&mut raw).await.unwrap();
    let few = async || {
        let all: usize = redis::cmd("HLEN").arg("idgate1:members").query_async(&mut raw.clone()).await.unwrap();
        let members = one.shared.state().unwrap().members;
        all <= 256 && members.len() == all && members.iter().any(|member| member.is_self)
    };
    eventually("the surplus is removed", few).await;
    // Nor is anything read that is long, by whatever name.
    let long = ["stranger-1".to_owned(), " ".repeat(1 << 20), "l".repeat(1 << 20), String::new()];
    redis::cmd("HSET").arg("idgate1:members").arg(&long).query_async::<()>(&mut raw.clone()).await.unwrap();
    let short = async || {
        let fields: Vec<String> =
            redis::cmd("HKEYS").arg("idgate1:members").query_async(&mut raw.clone()).await.unwrap();
        fields.iter().all(|field| field.len() < 1000 && field != "stranger-1")
    };
    eventually("what is long is removed", short).await;
}
