//! Each word that replicas say to Redis, as a table.

use std::num::NonZeroU32;
use std::time::Duration;

use idgate::domain::verdict::Verdict;
use idgate::storage::shared::{
    Away, Booking, Ending, Event, Granted, Look, Others, Owner, Patience, Refusal, Role, Told, Totals, Tried, Wanted,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Replica, key, lease, look, person, verdict, wanted};
use crate::support::eventually;
use crate::support::services::{Forwarder, RedisServer, Traffic};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_verdict_is_told_to_every_replica_and_only_one_of_them_calls() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let question = wanted(&one, 1);
    let mine = lease(&one, &question).await;
    assert!(matches!(look(&other, &question).await, Look::Waits));
    let given = verdict(Verdict::Mismatch, Timestamp::from_millisecond(1_790_000_000_000).unwrap());
    assert!(one.shared.land(&mine, Told::Verdict(&given, 60 * SECOND), &Patience::of(SECOND)).await.unwrap().is_ours);
    match look(&other, &question).await {
        Look::Known(found) => {
            assert_eq!(
                (found.verdict, found.provider, found.request_id),
                (Verdict::Mismatch, given.provider.clone(), given.request_id.clone())
            );
        }
        other => panic!("{other:?}"),
    }
    // One that must be younger than it is, a mismatch that does not count, and another scope.
    for (oldest_ms, known) in
        [([Some(0); 3], true), ([Some(0), None, Some(0)], false), ([Some(0), Some(1_790_000_000_001), None], false)]
    {
        let only_look = Wanted { oldest_ms, may_lead: false, ..question };
        assert_eq!(matches!(look(&other, &only_look).await, Look::Known(_)), known, "{oldest_ms:?}");
    }
    let elsewhere = Wanted { place: one.shared.place(person(1), "payout", ""), may_lead: false, ..question };
    assert!(matches!(look(&other, &elsewhere).await, Look::Nothing));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn who_waits_for_another_replica_hears_how_its_call_ended() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let failed = Told::Failed { kind: 3, retry: 2 * SECOND, client: [9; 8], may_be_billed: true, again: None };
    let given = verdict(Verdict::Match, Timestamp::now());
    // A verdict that is not remembered is told all the same.
    for (n, told) in [(1, Told::Verdict(&given, Duration::ZERO)), (2, failed)] {
        let question = wanted(&one, n);
        let mine = lease(&one, &question).await;
        let waits = async { other.shared.converse(&question, None, &Patience::of(SECOND)).await.unwrap() };
        let lands = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(one.shared.land(&mine, told.clone(), &Patience::of(SECOND)).await.unwrap().is_ours);
            tokio::time::Instant::now()
        };
        let (look, landed) = tokio::join!(waits, lands);
        assert!(landed.elapsed() < SECOND);
        match (look, &told) {
            (Look::Ended(Ending::Verdict(found), flight), Told::Verdict(given, _)) => {
                assert_eq!((found.verdict, flight), (given.verdict, question.flight));
            }
            (Look::Ended(Ending::Failed { kind, retry, client, may_be_billed }, flight), Told::Failed { .. }) => {
                assert_eq!(
                    (kind, retry, client, may_be_billed, flight),
                    (3, 2 * SECOND, [9; 8], true, question.flight)
                );
            }
            (look, told) => panic!("{look:?} {told:?}"),
        }
    }
    let left: Vec<String> =
        redis::cmd("KEYS").arg("*:p:*").query_async(&mut redis.connect().await).await.unwrap_or_default();
    assert!(left.len() <= 2);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_replica_that_falls_silent_is_replaced_by_exactly_one() {
    let redis = RedisServer::start();
    let one = Replica::up(&redis.address(), "one").await;
    let rest: Vec<_> =
        [Replica::up(&redis.address(), "two").await, Replica::up(&redis.address(), "three").await].into();
    let question = wanted(&one, 1);
    lease(&one, &question).await;
    drop(one);
    let patience = Patience::of(SECOND);
    let waits = rest.iter().map(|replica| async {
        let mine = Wanted { flight: Uuid::new_v4(), ..question };
        match replica.shared.converse(&mine, None, &patience).await.unwrap() {
            Look::Mine(lease) => {
                let given = verdict(Verdict::Match, Timestamp::now());
                replica.shared.land(&lease, Told::Verdict(&given, 60 * SECOND), &Patience::of(SECOND)).await.unwrap();
                1
            }
            _ => 0,
        }
    });
    let began = tokio::time::Instant::now();
    assert_eq!(futures_util::future::join_all(waits).await.into_iter().sum::<i32>(), 1);
    assert!((2 * SECOND..5 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
    let taken: f64 = rest.iter().map(|one| one.counted("idgate_shared_questions_total", "taken_over")).sum();
    assert_eq!(taken, 1.0);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_verdict_that_nobody_with_the_key_wrote_is_a_miss_and_is_counted() {
    let redis = RedisServer::start();
    let one = Replica::up(&redis.address(), "one").await;
    let question = wanted(&one, 1);
    let mine = lease(&one, &question).await;
    one.shared
        .land(&mine, Told::Verdict(&verdict(Verdict::Match, Timestamp::now()), 60 * SECOND), &Patience::of(SECOND))
        .await
        .unwrap();
    let mut raw = redis.connect().await;
    let at = |n: u32| [format!("idgate1:{}:p:", key().id()).as_bytes(), person(n).as_bytes()].concat();
    let field = [&b"v"[..], &question.place.scope].concat();
    let genuine: Vec<u8> = redis::cmd("HGET").arg(at(1)).arg(&field).query_async(&mut raw).await.unwrap();
    // Copied to another person.
    redis::cmd("HSET").arg(at(2)).arg(&field).arg(&genuine).query_async::<()>(&mut raw).await.unwrap();
    assert!(matches!(look(&one, &wanted(&one, 2)).await, Look::Mine(_)));
    assert_eq!(one.counted("idgate_shared_forged_total", ""), 1.0);
    let mut changed = genuine;
    changed[8] = 2;
    redis::cmd("HSET").arg(at(1)).arg(&field).arg(&changed).query_async::<()>(&mut raw).await.unwrap();
    assert!(matches!(look(&one, &question).await, Look::Mine(_)));
    assert_eq!(one.counted("idgate_shared_forged_total", ""), 2.0);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn who_is_forgotten_stays_forgotten_even_if_a_call_is_under_way() {
    let redis = RedisServer::start();
    let one = Replica::up(&redis.address(), "one").await;
    let mut other = Replica::up(&redis.address(), "other").await;
    let question = wanted(&one, 1);
    let mine = lease(&one, &question).await;
    let given = verdict(Verdict::Match, Timestamp::now());
    one.shared.land(&mine, Told::Verdict(&given, 60 * SECOND), &Patience::of(SECOND)).await.unwrap();
    let again = Wanted { oldest_ms: [None; 3], flight: Uuid::new_v4(), ..question };
    let under_way = lease(&one, &again).await;
    one.shared.admit(&booking("aliyun", 5), &Patience::of(SECOND)).await.unwrap().unwrap();
    eventually("both are known", async || one.shared.live() == 2).await;
    let forgets = one.shared.forget(person(1), person(99), 20 * SECOND);
    let hears = async {
        loop {
            if let Some(Event::Forgotten(who, number, acknowledge)) = other.events.recv().await {
                assert_eq!((who, number), (person(1), person(99)));
                return other.shared.has_forgotten(acknowledge);
            }
        }
    };
    let (found, ()) = tokio::join!(forgets, hears);
    assert_eq!((found.verdicts, found.holds, found.of, &*found.unconfirmed), (1, 1, 2, &[][..]));
    // One that does not say it is named.
    let found = one.shared.forget(person(2), person(99), 20 * SECOND).await;
    assert_eq!((found.of, found.unconfirmed), (2, vec!["other".to_owned()]));
    let landed = one.shared.land(&under_way, Told::Verdict(&given, 60 * SECOND), &Patience::of(SECOND)).await.unwrap();
    assert!(!landed.is_ours && landed.stays.is_none());
    assert_eq!(one.counted("idgate_shared_forgotten_late_total", ""), 1.0);
    assert!(matches!(look(&other, &Wanted { may_lead: false, ..question }).await, Look::Nothing));
}

fn booking(provider: &str, calls: usize) -> Booking<'_> {
    let fast = NonZeroU32::new(1000).unwrap();
    Booking { person: person(1), provider, calls, window: 60 * SECOND, per_second: fast, burst: fast, extra: None }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_person_is_called_about_so_often_and_held_off_by_all_replicas_together() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let patience = Patience::of(20 * SECOND);
    for replica in [&one, &other] {
        assert_eq!(replica.shared.admit(&booking("aliyun", 2), &patience).await.unwrap(), Ok(()));
    }
    let refused = one.shared.admit(&booking("aliyun", 2), &patience).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Hold(left)) if left > 50 * SECOND), "{refused:?}");
    assert_eq!(one.shared.admit(&booking("yunyi", 2), &patience).await.unwrap(), Ok(()), "another provider");
    other.shared.unbook(person(1), "aliyun");
    eventually("it is given back", async || one.shared.admit(&booking("aliyun", 2), &patience).await.unwrap().is_ok())
        .await;
    other.shared.hold(person(1), "yunyi", 10 * SECOND, 60 * SECOND);
    let held = async || {
        let refused = one.shared.admit(&booking("yunyi", 100), &patience).await.unwrap();
        matches!(refused, Err(Refusal::Hold(left)) if left <= 10 * SECOND)
    };
    eventually("the other holds too", held).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn rates_extra_attempts_names_and_nonces_are_those_of_all_replicas_together() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let (patience, number) = (Patience::of(60 * SECOND), |n: u32| NonZeroU32::new(n).unwrap());
    let slow = Booking { per_second: number(1), burst: number(6), ..booking("slow", 1000) };
    let mut passed = 0;
    for n in 0..20 {
        let replica = if n % 2 == 0 { &one } else { &other };
        passed += i32::from(replica.shared.admit(&slow, &patience).await.unwrap().is_ok());
    }
    assert!((6..=7).contains(&passed), "{passed}");
    one.shared.pause("paused", number(50), 30 * SECOND);
    let paused = async || {
        let refused = other.shared.admit(&booking("paused", 1000), &patience).await.unwrap();
        matches!(refused, Err(Refusal::Rate(left)) if left > 20 * SECOND)
    };
    eventually("the pause is everybody's", paused).await;
    let extra = Booking { extra: Some(3), ..booking("extra", 1000) };
    let mut passed = 0;
    for n in 0..10 {
        let replica = if n % 2 == 0 { &one } else { &other };
        passed += i32::from(replica.shared.admit(&extra, &patience).await.unwrap().is_ok());
    }
    assert_eq!(passed, 3);
    let mut tries = Vec::new();
    for name in [1, 2, 1, 3, 2] {
        tries.push(one.shared.try_name(&tried(name), &patience).await.unwrap().is_ok());
    }
    assert_eq!(tries, [true, true, true, false, true]);
    let mut taken = 0;
    for n in 0..100_u8 {
        let nonce = n.to_string();
        let takes = [&one, &other].map(|replica| replica.shared.take_nonce("key", &nonce, 60 * SECOND, &patience));
        taken += futures_util::future::join_all(takes).await.into_iter().filter(|one| one.unwrap()).count();
    }
    assert_eq!(taken, 100);
}

fn tried(name: u8) -> Tried {
    Tried { number: [5; 16], client: [6; 8], name: [name; 8], most: 2, window: 60 * SECOND }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_question_with_a_name_too_many_is_told_nothing_and_leaves_the_lease_to_others() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let patience = Patience::of(60 * SECOND);
    let ask = async |n: u8| one.shared.converse(&wanted(&one, n.into()), Some(&tried(n)), &patience).await.unwrap();
    let Look::Mine(mine) = ask(1).await else { panic!("the first name is granted") };
    assert!(matches!(ask(2).await, Look::Mine(_)));
    let Look::Refused(wait, Some(lease)) = ask(3).await else { panic!("the third name is one too many") };
    assert!(wait > 50 * SECOND);
    let failed = Told::Failed { kind: 1, retry: SECOND, client: [0; 8], may_be_billed: false, again: None };
    one.shared.land_behind(&lease, failed);
    let may_lead = async || matches!(look(&other, &wanted(&other, 3)).await, Look::Mine(_));
    eventually("another leads", may_lead).await;
    // Nor is it told what is known, and a name that was counted is not counted again.
    let given = verdict(Verdict::Match, Timestamp::now());
    one.shared.land(&mine, Told::Verdict(&given, 60 * SECOND), &patience).await.unwrap();
    let known = wanted(&one, 1);
    let refused = one.shared.converse(&known, Some(&tried(4)), &patience).await.unwrap();
    assert!(matches!(refused, Look::Refused(_, None)), "{refused:?}");
    let granted = one.shared.converse(&known, Some(&tried(2)), &patience).await.unwrap();
    assert!(matches!(granted, Look::Known(_)), "{granted:?}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn nobody_waits_for_another_replica_while_redis_is_slow() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let (one, other) = (Replica::up(&forwarder.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let question = wanted(&other, 1);
    lease(&other, &question).await;
    // More than half of the patience of 200 ms.
    forwarder.set(Traffic::Lags(Duration::from_millis(130)));
    let patience = Patience::of(SECOND / 5);
    let began = tokio::time::Instant::now();
    assert_eq!(one.shared.converse(&wanted(&one, 1), Some(&tried(1)), &patience).await.err(), Some(Away));
    assert!(began.elapsed() < SECOND / 5, "the patience is the longest wait");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_budget_is_sold_to_the_last_call_and_never_passed() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let (owner, patience) = ((Owner::Client, "bank"), Patience::of(60 * SECOND));
    let totals = |calls: u64| Totals { day: 1, month: 1, used: [calls, calls * 300, calls, calls * 300] };
    let limits = [Some(10), None, None, None];
    assert_eq!(one.shared.reserve(owner, totals(1), limits, &patience).await, Ok(Granted::Incomplete));
    eventually("both are known", async || redis_len(&redis).await == 2).await;
    eventually("both have beaten", async || {
        let live = one.shared.state().unwrap().members.len() + other.shared.state().unwrap().members.len();
        live == 4
    })
    .await;
    assert_eq!(one.shared.write_totals(owner, totals(0)).await, Ok(None), "the other has not said it");
    assert_eq!(other.shared.write_totals(owner, totals(4)).await, Ok(Some(Others([0; 4]))));
    assert_eq!(one.shared.write_totals(owner, totals(0)).await, Ok(Some(Others([4, 1200, 4, 1200]))));
    for calls in 1..=6 {
        let granted = one.shared.reserve(owner, totals(calls), limits, &patience).await;
        assert_eq!(granted, Ok(Granted::Yes(Others([4, 1200, 4, 1200]))));
    }
    assert_eq!(
        one.shared.reserve(owner, totals(7), limits, &patience).await,
        Ok(Granted::Full(0, Others([4, 1200, 4, 1200])))
    );
    assert!(matches!(other.shared.reserve(owner, totals(5), limits, &patience).await, Ok(Granted::Full(0, _))));
    // Of another day, and of no limit.
    let tomorrow = Totals { day: 2, ..totals(5) };
    assert_eq!(
        other.shared.reserve(owner, tomorrow, limits, &patience).await,
        Ok(Granted::Yes(Others([0, 0, 6, 1800])))
    );
}

async fn redis_len(redis: &RedisServer) -> u32 {
    redis::cmd("HLEN").arg("idgate1:members").query_async(&mut redis.connect().await).await.unwrap()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn the_newest_decision_of_an_operator_reaches_all_and_survives_a_flush() {
    let redis = RedisServer::start();
    let one = Replica::up(&redis.address(), "one").await;
    let mut other = Replica::up(&redis.address(), "other").await;
    one.shared.decided("aliyun", 2000, "isolated");
    let known =
        async |replica: &Replica| replica.shared.decisions() == [("aliyun".to_owned(), 2000, "isolated".to_owned())];
    eventually("the other knows", async || known(&other).await).await;
    other.shared.decided("yunyi", 1000, "isolated");
    let mut raw = redis.connect().await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut raw).await.unwrap();
    let field = format!("idgate1:{}:i", key().id());
    let back = async || {
        let all: u32 = redis::cmd("HLEN").arg(&field).query_async(&mut raw.clone()).await.unwrap();
        all == 2
    };
    eventually("it is put back", back).await;
    assert!(matches!(other.events.recv().await, Some(Event::Decided)));
    // Whoever is cut off misses the message, and hears of it when they are back.
    let forwarder = Forwarder::to(&redis.socket());
    let mut third = Replica::up(&forwarder.address(), "third").await;
    eventually("it knows both", async || third.shared.decisions().len() == 2).await;
    forwarder.set(Traffic::Refused);
    forwarder.cut();
    eventually("it is away", async || !third.shared.is_up()).await;
    while third.events.try_recv().is_ok() {}
    one.shared.decided("muzhiyun", 3000, "isolated");
    eventually("the other knows it", async || other.shared.decisions().len() == 3).await;
    assert!(third.events.try_recv().is_err());
    forwarder.set(Traffic::Flows);
    eventually("it has heard of it", async || third.shared.decisions().len() == 3).await;
    assert!(matches!(third.events.recv().await, Some(Event::Decided)));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_link_that_stalls_is_away_at_once_and_back_soon_after() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let one = Replica::up(&forwarder.address(), "one").await;
    let question = Wanted { may_lead: false, ..wanted(&one, 1) };
    assert!(matches!(look(&one, &question).await, Look::Nothing));
    forwarder.set(Traffic::Stalls);
    let began = tokio::time::Instant::now();
    let patience = Patience::of(Duration::from_millis(200));
    assert_eq!(one.shared.look(&question, &patience).await.err(), Some(Away));
    assert!(began.elapsed() < 2 * SECOND);
    let began = tokio::time::Instant::now();
    assert_eq!(one.shared.look(&question, &patience).await.err(), Some(Away), "the patience is one for the question");
    assert!(began.elapsed() < Duration::from_millis(50));
    eventually("it is given up", async || !one.shared.is_up()).await;
    forwarder.set(Traffic::Flows);
    eventually("it is back", async || one.shared.is_up()).await;
    assert!(matches!(look(&one, &question).await, Look::Nothing));
    // Cut, without its scripts, and a replica instead.
    forwarder.cut();
    eventually("it is noticed", async || look_again(&one, &question).await).await;
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut redis.connect().await).await.unwrap();
    eventually("the scripts are loaded anew", async || look_again(&one, &question).await).await;
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", "1"]);
    forwarder.lead_to(&replica.socket());
    eventually("a replica is not used", async || !one.shared.is_up()).await;
    forwarder.lead_to(&redis.socket());
    eventually("the primary is", async || look_again(&one, &question).await).await;
    one.shared.count(Role::Alone);
    assert_eq!(one.counted("idgate_shared_questions_total", "alone"), 1.0);
}

async fn look_again(replica: &Replica, question: &Wanted) -> bool {
    replica.shared.look(question, &Patience::of(SECOND)).await.is_ok()
}
