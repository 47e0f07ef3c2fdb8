//! Tests the keeper with a paused clock, which the wall clock follows, and with sources that do no I/O.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::Registry;
use uuid::Uuid;

use super::*;
use crate::domain::clock::Ids;
use crate::domain::outcome::Fault;
use crate::domain::outcome::Outcome;
use crate::domain::personal::Secret;
use crate::providers::Credential;
use crate::providers::alibaba::schemes::ACCESS_KEY;
use crate::providers::source::{MissReason, Step};
use crate::verify::credentials::store::{CredentialStore, Given, is_about_the_key};
use crate::verify::metrics::Metrics;
use crate::verify::outbound::client::Clients;
use crate::verify::outbound::dns::{Names, System};
use crate::verify::outbound::settings::Outbound;

const PATIENCE: Duration = Duration::from_secs(2);

/// Gives scripted answers and counts the fetches.
#[derive(Debug)]
struct Script {
    clock: Clock,
    answers: Mutex<VecDeque<Answer>>,
    /// The answer once `answers` is empty.
    last: Answer,
    asked: AtomicU64,
    fingerprint: u8,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    /// New keys, valid for this many minutes.
    Keys(i64),
    /// The same keys each time, which never expire.
    Permanent,
    /// The same keys each time, which expire this many minutes after the start.
    Same(i64),
    Nothing,
}

impl Source for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn begin(&self, _kept: Option<&'static str>) -> Step {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(self.last);
        let (id, ends) = match answer {
            Answer::Nothing => return Step::failed("script", MissReason::Unreachable),
            Answer::Permanent => ("always".to_owned(), None),
            Answer::Same(minutes) => ("same".to_owned(), Some(start() + SignedDuration::from_mins(minutes))),
            Answer::Keys(minutes) => (n.to_string(), Some(self.clock.now() + SignedDuration::from_mins(minutes))),
        };
        let credential = Credential::new(&ACCESS_KEY, id, Secret::new("s"));
        Step::Done(Granted { credential, ends, from: "script" })
    }

    fn fingerprint(&self) -> [u8; 32] {
        [self.fingerprint; 32]
    }
}

fn start() -> Timestamp {
    "2026-11-25T08:00:00Z".parse().unwrap()
}

struct Scene {
    keys: CredentialStore,
    source: Arc<Script>,
    fetcher: Arc<Fetcher>,
    registry: Registry,
}

impl Scene {
    fn new(answers: &[Answer], last: Answer) -> Self {
        let began = Instant::now();
        let clock = Clock::new(move || start() + SignedDuration::try_from(began.elapsed()).unwrap());
        let ids = Ids::new(|| Uuid::from_u128(7), || Uuid::from_u128(7));
        let registry = Registry::new();
        let names = Names::new(Arc::new(System), &registry).unwrap();
        let mut clients = Clients::new(Arc::new(names), None);
        let direct = Outbound::direct(Duration::from_secs(1));
        let fetcher = Arc::new(Fetcher::new(&direct, &mut clients, clock.clone(), ids).unwrap());
        let answers = Mutex::new(answers.iter().copied().collect());
        let source = Arc::new(Script { clock, answers, last, asked: AtomicU64::new(0), fingerprint: 0 });
        let given = Given::Fetched { source: source.clone(), fetcher: fetcher.clone() };
        let keys = CredentialStore::new(Arc::from("p"), given, &Metrics::register(&registry).unwrap());
        Self { keys, source, fetcher, registry }
    }

    fn asked(&self) -> u64 {
        self.source.asked.load(Ordering::SeqCst)
    }

    async fn held(&self) -> Option<Arc<Held>> {
        self.keys.held(PATIENCE).await
    }

    async fn id(&self) -> String {
        id(&self.held().await.unwrap())
    }

    fn metric(&self, name: &str, result: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let mut series = family.get_metric().iter();
        let found = series.find(|one| result.is_empty() || one.get_label().iter().any(|label| label.value() == result));
        let found = found.unwrap();
        found.get_counter().get_value() + found.get_gauge().get_value()
    }
}

fn id(held: &Held) -> String {
    held.credential.id().to_owned()
}

async fn minutes(minutes: u64) {
    tokio::time::sleep(Duration::from_mins(minutes)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_question_waits_for_the_first_fetch() {
    let scene = Scene::new(&[], Answer::Keys(60));
    assert_eq!(scene.asked(), 0, "the task has not begun");
    assert_eq!((scene.id().await, scene.asked()), ("0".to_owned(), 1));
    assert_eq!(scene.metric("idgate_credential_refreshes_total", "success"), 1.0);
    assert_eq!(scene.metric("idgate_credential_expiry_timestamp_seconds", ""), (start().as_second() + 3600) as f64);
}

#[tokio::test(start_paused = true)]
async fn keys_are_replaced_between_fifteen_and_twelve_minutes_before_their_end() {
    let scene = Scene::new(&[], Answer::Keys(60));
    assert_eq!(scene.id().await, "0");
    minutes(44).await;
    assert_eq!((scene.id().await, scene.asked()), ("0".to_owned(), 1));
    minutes(5).await;
    assert_eq!((scene.id().await, scene.asked()), ("1".to_owned(), 2));
    assert_eq!(scene.metric("idgate_credential_generation", ""), 2.0);
    // The task keeps refreshing without any calls.
    minutes(600).await;
    assert!((13..=16).contains(&scene.asked()), "{}", scene.asked());
}

#[test]
fn the_time_of_a_refresh_is_spread_and_short_lives_are_halved() {
    let now = start();
    let wait =
        |minutes: i64, chance: f64| due(now, SignedDuration::from_mins(minutes), chance).duration_since(now).as_secs();
    assert_eq!((wait(60, 0.0), wait(60, 1.0)), (45 * 60, 48 * 60));
    assert_eq!((wait(15, 0.0), wait(15, 1.0)), (450, 540));
    assert_eq!((wait(0, 0.0), wait(-5, 1.0)), (5, 5), "never at once, again and again");
}

#[tokio::test(start_paused = true)]
async fn while_the_source_is_down_the_old_keys_are_used_to_their_end_and_not_longer() {
    let scene = Scene::new(&[Answer::Keys(60)], Answer::Nothing);
    assert_eq!(scene.id().await, "0");
    minutes(59).await;
    assert_eq!(scene.id().await, "0");
    assert!(scene.keys.lack(Instant::now()).is_none());
    let failures = scene.metric("idgate_credential_refreshes_total", "failure");
    // 12 to 15 minutes of failures, with pauses of 1, 2, 4 … 60 seconds, each reduced by up to a fifth.
    assert!((12.0..=30.0).contains(&failures), "{failures}");
    assert_eq!(
        scene.keys.status().unwrap().misses,
        [Miss { source: "script", reason: MissReason::Unreachable, code: None }]
    );
    minutes(1).await;
    assert!(scene.held().await.is_none());
    let lack = scene.keys.lack(Instant::now()).unwrap();
    assert_eq!((lack.reason, lack.retry_after <= LONGEST_PAUSE), (Reason::NoCredential, true));
    assert_eq!(scene.keys.status().unwrap().expires_in, None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_comes_back_is_noticed_within_a_minute_and_the_pauses_begin_anew() {
    let scene = Scene::new(&[Answer::Nothing; 12], Answer::Keys(60));
    assert!(scene.held().await.is_none(), "the first fetch has failed");
    assert!(scene.held().await.is_none(), "and nobody waits for the next");
    assert_eq!(scene.asked(), 1);
    minutes(10).await;
    assert_eq!((scene.id().await, scene.asked()), ("12".to_owned(), 13));
    assert!(scene.keys.status().unwrap().misses.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_restores_ends_the_pause() {
    let scene = Scene::new(&[Answer::Nothing; 8], Answer::Keys(60));
    while scene.asked() < 8 {
        scene.keys.fetch_now();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    scene.keys.fetch_now();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(scene.id().await, "8");
}

#[tokio::test(start_paused = true)]
async fn refused_keys_are_replaced_by_one_fetch_for_all_calls_in_flight() {
    let scene = Scene::new(&[], Answer::Keys(60));
    let held = scene.held().await.unwrap();
    let calls = (0..50).map(|_| scene.keys.instead_of(&held, PATIENCE));
    for other in futures_util::future::join_all(calls).await {
        assert_eq!(id(&other.unwrap()), "1");
    }
    assert_eq!(scene.asked(), 2);
    // A call that is refused later with the old keys finds them changed.
    assert_eq!(id(&scene.keys.instead_of(&held, PATIENCE).await.unwrap()), "1");
    assert_eq!(scene.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_a_fetch_does_not_mend_is_no_reason_to_send_again() {
    let permanent = Scene::new(&[], Answer::Permanent);
    let held = permanent.held().await.unwrap();
    assert!(permanent.keys.instead_of(&held, PATIENCE).await.is_none(), "the same keys again");
    assert_eq!((permanent.asked(), permanent.metric("idgate_credential_generation", "")), (2, 1.0));
    let down = Scene::new(&[Answer::Keys(60)], Answer::Nothing);
    let held = down.held().await.unwrap();
    assert!(down.keys.instead_of(&held, PATIENCE).await.is_none());
    let asked = down.asked();
    assert!(down.keys.instead_of(&held, PATIENCE).await.is_none());
    assert_eq!(down.asked(), asked, "while it fails its own pauses count, not the refusals");
    assert_eq!(down.id().await, "0", "they are all that there is");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_gives_the_same_keys_again_is_not_asked_all_the_time() {
    let scene = Scene::new(&[], Answer::Same(60));
    minutes(59).await;
    assert_eq!((scene.id().await, scene.metric("idgate_credential_generation", "")), ("same".to_owned(), 1.0));
    assert!(scene.asked() < 12, "{}", scene.asked());
    let permanent = Scene::new(&[], Answer::Permanent);
    minutes(60 * 24).await;
    assert_eq!((permanent.id().await, permanent.asked()), ("always".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_keeper_of_the_same_source_and_its_keys() {
    let scene = Scene::new(&[], Answer::Keys(60));
    assert_eq!(scene.id().await, "0");
    let same = Given::Fetched { source: scene.source.clone(), fetcher: scene.fetcher.clone() };
    assert!(!scene.keys.replace(same));
    assert_eq!((scene.id().await, scene.asked()), ("0".to_owned(), 1));
    let other = Arc::new(Script {
        clock: scene.source.clock.clone(),
        answers: Mutex::default(),
        last: Answer::Permanent,
        asked: AtomicU64::new(0),
        fingerprint: 1,
    });
    assert!(scene.keys.replace(Given::Fetched { source: other, fetcher: scene.fetcher.clone() }));
    assert_eq!(scene.id().await, "0", "the old ones are used until the new ones are there");
    minutes(1).await;
    assert_eq!(scene.id().await, "always");
    minutes(120).await;
    assert_eq!(scene.asked(), 1, "the task of the old source has ended");
}

#[test]
fn a_missing_credential_is_not_a_refused_one() {
    assert!(!is_about_the_key(&Fault::new(Outcome::AccountFault, Reason::NoCredential)));
}
