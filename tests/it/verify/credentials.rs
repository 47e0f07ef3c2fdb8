//! Fetched credentials, with the real fetcher over real sockets, from the sandbox's STS, metadata service and URI.
//!
//! The tests control the gateway's wall clock. Signatures are valid for fifteen minutes, so the keys here live for
//! twelve.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use idgate::domain::clock::Clock;
use idgate::providers::alibaba::schemes::ACCESS_KEY;
use idgate::providers::{Credential, DRIVERS, Driver, Part};
use idgate::server::sandbox::{PlaceFault, SandboxHandle, WrongDocument};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::{in_short, unhurried, until};
use crate::support::{Builder, TestGateway, anybody};

/// For a protocol with a clock window of [`WINDOW`] seconds; scaled for other windows.
const LIFETIME: Duration = Duration::from_mins(12);
const WINDOW: i64 = 15 * 60;
const TOKEN: &str = "eyJjYW5hcnkiOiJ0b2tlbiJ9.fileContent.neverTold";
const ID: &str = "sandboxAccessKeyId";
const SECRET: &str = "sandboxAccessKeySecret";

/// The credential sources of a driver: `tests/fixtures/<driver>/credentials.json`. In its texts, `{id}` and
/// `{secret}` stand for the sandbox's own key, `{folder}` for the simulated machine's disk, and the name of a place
/// for its address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ways {
    files: BTreeMap<String, String>,
    ways: Vec<Way>,
}

/// One kind of source: its table without `kind`, the variables it needs, the place it asks (none if its keys are
/// permanent), and the name of the source that answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Way {
    kind: String,
    #[serde(default)]
    table: String,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    asks: Option<String>,
    from: Option<String>,
}

/// A driver with one of its sources.
#[derive(Debug, Clone)]
struct Case {
    driver: &'static Driver,
    way: Way,
}

fn ways_of(driver: &Driver) -> Ways {
    let path = format!("{}/tests/fixtures/{}/credentials.json", env!("CARGO_MANIFEST_DIR"), driver.name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let ways: Ways = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(ways.ways.len() >= 2, "{path}");
    ways
}

impl Case {
    /// Every source of every driver that has some.
    fn all() -> Vec<Self> {
        let of = |driver| ways_of(driver).ways.into_iter().map(move |way| Self { driver, way });
        DRIVERS.iter().copied().filter(|driver| !driver.places.is_empty()).flat_map(of).collect()
    }

    /// The sources of one driver of each cloud, since all drivers of a cloud have the same ones.
    fn of_each_cloud() -> Vec<Self> {
        let is_first = |case: &Self| {
            let same = |driver: &&&Driver| driver.places.first().map(|place| place.name) == case.places();
            DRIVERS.iter().find(same).unwrap().name == case.driver.name
        };
        Self::all().into_iter().filter(is_first).collect()
    }

    /// The first case of this kind.
    fn of(kind: &str) -> Self {
        Self::all().into_iter().find(|case| case.way.kind == kind).unwrap()
    }

    fn places(&self) -> Option<&'static str> {
        self.driver.places.first().map(|place| place.name)
    }

    fn window(&self) -> i64 {
        self.driver.dialect.as_ref().unwrap().clock_window.as_secs()
    }

    /// The lifetime of its keys, scaled to the clock window.
    fn lifetime(&self) -> Duration {
        LIFETIME.mul_f64(self.window() as f64 / WINDOW as f64)
    }

    /// The place that it asks, if its keys are temporary.
    fn asks(&self) -> Option<&'static str> {
        let name = self.way.asks.as_ref()?;
        self.driver.places.iter().map(|place| place.name).find(|place| place == name)
    }

    fn label(&self) -> String {
        format!("{} {}", self.driver.name, self.way.kind)
    }

    /// A text of the fixture with the placeholders filled in.
    fn filled(&self, text: &str, files: &Files) -> String {
        let part = |wanted: Part| {
            let key = self.driver.schemes[0].fields.iter().find(|field| field.part == wanted).unwrap().key;
            self.driver.sample().iter().find(|(name, _)| *name == key).unwrap().1
        };
        let folder = files.folder.display().to_string();
        text.replace("{id}", part(Part::Id)).replace("{secret}", part(Part::Secret)).replace("{folder}", &folder)
    }
}

/// The disk of the simulated machine.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn new(case: &Case) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("idgate-credentials-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Self { folder };
        std::fs::write(files.folder.join("token"), format!("{TOKEN}\n")).unwrap();
        for (name, content) in ways_of(case.driver).files {
            std::fs::write(files.folder.join(name), case.filled(&content, &files)).unwrap();
        }
        Arc::new(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A clock that the test sets, in minutes of a protocol with a window of fifteen; for a narrower window, the minutes
/// are shorter in proportion.
#[derive(Clone)]
struct Hands {
    seconds: Arc<AtomicI64>,
    window: i64,
}

impl Hands {
    fn of(case: &Case) -> Self {
        Self { seconds: Arc::default(), window: case.window() }
    }

    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.seconds);
        Clock::new(move || Timestamp::now() + SignedDuration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    fn set(&self, minutes: i64) {
        self.seconds.store(minutes * 60 * self.window / WINDOW, Ordering::SeqCst);
    }
}

/// A gateway whose first provider, `fetched`, uses the driver of the case and fetches its credential from the source
/// of the case; a second provider follows. Keys live for [`LIFETIME`].
fn gateway(case: &Case, files: &Arc<Files>, hands: &Hands) -> Builder {
    let (of_files, of_case) = (Arc::clone(files), case.clone());
    let variables = case.way.variables.iter();
    variables
        .fold(unhurried(TestGateway::new()), |builder, (name, value)| builder.variable(name, case.filled(value, files)))
        .over_sandbox(move |sandbox| {
            sandbox.issuer().set_lifetime(Some(of_case.lifetime()));
            section(&of_case, &of_files, sandbox)
        })
        .chain(&["fetched", "yunyi"])
        .over("[cache]\nmatch_ttl = \"0s\"\n[holds]\ncalls = 1000000")
        .clock(hands.clock())
}

fn section(case: &Case, files: &Files, sandbox: &SandboxHandle) -> String {
    let endpoint = sandbox.addresses(case.driver.name)[0];
    let places = case.driver.places.iter();
    let table = places.fold(case.filled(&case.way.table, files), |table, place| {
        table.replace(&format!("{{{}}}", place.name), &sandbox.issuer().address(place.name).unwrap().to_string())
    });
    format!(
        "[providers.fetched]\ndriver = \"{}\"\nendpoints = [\"http://{endpoint}\"]\nconnect_timeout = \"2s\"\n\
         attempt_timeout = \"20s\"\ncall_limit = \"40s\"\ncredentials = {{ kind = \"{}\"{table} }}\n",
        case.driver.name, case.way.kind
    )
}

async fn refreshes(gateway: &TestGateway, result: &str) -> f64 {
    gateway.metric("idgate_credential_refreshes_total", &[("provider", "fetched"), ("result", result)]).await
}

async fn generation(gateway: &TestGateway) -> f64 {
    gateway.metric("idgate_credential_generation", &[("provider", "fetched")]).await
}

async fn failures(gateway: &TestGateway) -> Vec<String> {
    let status = gateway.status_of("fetched").await;
    let all = status["credential"]["failures"].as_array().expect("failures").clone();
    all.iter().map(|one| format!("{} {}", one["source"].as_str().unwrap(), one["reason"].as_str().unwrap())).collect()
}

/// The cases of one driver of each cloud whose keys expire, with the place that they ask.
fn temporary() -> impl Iterator<Item = (Case, &'static str)> {
    Case::of_each_cloud().into_iter().filter_map(|case| Some((case.clone(), case.asks()?)))
}

const ANSWERED: &str = "fetched match (provider)";
const HANDED_ON: &str = "yunyi match (provider)";

#[tokio::test]
async fn each_kind_fetches_before_the_first_question_is_asked_for_each_driver() {
    for case in Case::all() {
        let (way, label) = (&case.way, case.label());
        let files = Files::new(&case);
        let gateway = gateway(&case, &files, &Hands::of(&case)).start().await;
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(in_short(&reply), ANSWERED, "{label}: {reply:#?}");
        assert_eq!((refreshes(&gateway, "success").await, refreshes(&gateway, "failure").await), (1.0, 0.0));
        assert_eq!(generation(&gateway).await, 1.0);
        let status = gateway.status_of("fetched").await;
        let credential = &status["credential"];
        assert_eq!((credential["source"].as_str(), status["available"].as_bool()), (Some(&*way.kind), Some(true)));
        assert_eq!(credential["from"], *way.from.as_ref().unwrap_or(&way.kind), "{label}");
        let expiry = gateway.metric("idgate_credential_expiry_timestamp_seconds", &[]).await;
        let left = credential["expires_in_seconds"].as_f64();
        let whole = case.lifetime().as_secs_f64();
        let is_fresh = left.is_some_and(|left| (whole * 0.8..=whole).contains(&left));
        assert_eq!(is_fresh, way.asks.is_some(), "{credential}");
        assert_eq!(expiry > 1.0, way.asks.is_some());
        assert_eq!(gateway.sandbox.issuer().issued(), u64::from(way.asks.is_some()));
        assert_eq!(gateway.status_of("yunyi").await["credential"], Value::Null);
    }
}

#[tokio::test]
async fn each_kind_is_refreshed_before_the_end_and_uses_the_old_keys_while_its_source_is_down() {
    for (case, place) in temporary() {
        let hands = Hands::of(&case);
        let files = Files::new(&case);
        let gateway = gateway(&case, &files, &hands).start().await;
        let issuer = gateway.sandbox.issuer();
        assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);

        // Past half of their life, but far from expiry: the old keys are still used and are replaced in the
        // background.
        hands.set(8);
        assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
        until("the keys are replaced", async || refreshes(&gateway, "success").await == 2.0).await;
        assert_eq!((issuer.issued(), generation(&gateway).await), (2, 2.0), "{}", case.label());

        issuer.set_place_fault(place, Some(PlaceFault::Down)).unwrap();
        hands.set(11);
        assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
        until("the failure is counted", async || refreshes(&gateway, "failure").await >= 1.0).await;
        assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED, "the old keys are good to their end");
        let told = failures(&gateway).await;
        assert!(told.iter().all(|miss| miss.ends_with(" unreachable")) && !told.is_empty(), "{told:?}");
        assert_eq!(gateway.status_of("fetched").await["available"], true);

        // After expiry there is no credential: the chain continues and the status reports the reason.
        hands.set(13);
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(in_short(&reply), HANDED_ON);
        assert_eq!(reply.attempts(), ["fetched=account_fault(no)", "yunyi=verdict(yes)"]);
        let status = gateway.status_of("fetched").await;
        assert_eq!(
            (&status["available"], &status["account_fault"]["reason"]),
            (&json!(false), &json!("no_credential"))
        );
        assert_eq!(
            gateway.metric("idgate_account_fault", &[("provider", "fetched"), ("reason", "no_credential")]).await,
            1.0
        );

        // The provider recovers, and no account interval delays it. (The account interval uses the real clock.)
        issuer.set_lifetime(Some(2 * case.lifetime()));
        issuer.set_place_fault(place, None).unwrap();
        gateway.admin_post("/v1/providers/fetched/restore").await;
        until("there are keys again", async || refreshes(&gateway, "success").await >= 3.0).await;
        assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED, "{}", case.label());
    }
}

#[tokio::test]
async fn a_source_that_lies_gives_no_keys_and_the_next_provider_answers() {
    let faults = [
        (PlaceFault::WrongDocument(WrongDocument::Garbage), "garbage"),
        (PlaceFault::WrongDocument(WrongDocument::NotSuccess), "not_success"),
        (PlaceFault::WrongDocument(WrongDocument::MissingField), "missing_field"),
        (PlaceFault::WrongDocument(WrongDocument::Ended), "already_ended"),
        (PlaceFault::Status(500), "refused"),
        (PlaceFault::Status(307), "redirect"),
        (PlaceFault::Down, "unreachable"),
    ];
    for (case, place) in temporary() {
        let files = Files::new(&case);
        for (fault, reason) in faults {
            let builder = gateway(&case, &files, &Hands::of(&case)).over_sandbox(move |sandbox| {
                sandbox.issuer().set_place_fault(place, Some(fault)).unwrap();
                String::new()
            });
            let gateway = builder.start().await;
            let reply = gateway.ask(&anybody()).await;
            assert_eq!(in_short(&reply), HANDED_ON, "{} {reason}", case.label());
            assert_eq!(reply.attempts()[0], "fetched=account_fault(no)");
            assert_eq!(gateway.sandbox.calls(case.driver.name), 0, "nothing was sent");
            assert_eq!(gateway.metric("idgate_billed_calls_total", &[("provider", "fetched")]).await, 0.0);
            let told = failures(&gateway).await;
            assert!(
                told.iter().any(|miss| miss.ends_with(&format!(" {reason}"))),
                "{} {reason}: {told:?}",
                case.label()
            );
            assert_eq!(generation(&gateway).await, 0.0);
        }
    }
}

#[tokio::test]
async fn keys_that_end_in_flight_are_replaced_once_and_no_question_hears_of_it() {
    for case in Case::all().into_iter().filter(|case| case.asks().is_some()) {
        let files = Files::new(&case);
        let gateway = gateway(&case, &files, &Hands::of(&case)).start().await;
        assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
        gateway.sandbox.issuer().end_all();
        let replies = futures_util::future::join_all((0..20).map(|_| async { gateway.ask(&anybody()).await })).await;
        for reply in replies {
            assert_eq!(
                (in_short(&reply), reply.attempts()),
                (ANSWERED.to_owned(), vec!["fetched=verdict(yes)".to_owned()])
            );
        }
        assert_eq!(gateway.sandbox.issuer().issued(), 2, "one more fetch for all: {}", case.label());
        assert_eq!((generation(&gateway).await, gateway.sandbox.refused(case.driver.name) >= 1), (2.0, true));
    }
}

#[tokio::test]
async fn keys_that_are_refused_while_their_source_is_down_are_an_account_fault() {
    let (case, place) = temporary().next().unwrap();
    let driver = case.driver;
    let files = Files::new(&case);
    let gateway = gateway(&case, &files, &Hands::of(&case)).start().await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
    gateway.sandbox.issuer().end_all();
    gateway.sandbox.issuer().set_place_fault(place, Some(PlaceFault::Down)).unwrap();
    assert_eq!(in_short(&gateway.ask(&anybody()).await), HANDED_ON);
    assert_eq!(gateway.status_of("fetched").await["account_fault"]["reason"], "key_refused");
    assert_eq!(gateway.sandbox.calls(driver.name), 2, "it was not sent again");
    assert_eq!(in_short(&gateway.ask(&anybody()).await), HANDED_ON);
    assert_eq!(gateway.sandbox.calls(driver.name), 2, "it is set aside");

    // The provider recovers with the next successful fetch, not when the account interval is over.
    gateway.sandbox.issuer().set_place_fault(place, None).unwrap();
    until("there are keys again", async || refreshes(&gateway, "success").await == 2.0).await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
}

#[tokio::test]
async fn keys_that_are_refused_as_often_as_they_are_fetched_set_the_account_aside() {
    let (case, _) = temporary().next().unwrap();
    let driver = case.driver;
    let files = Files::new(&case);
    let gateway = gateway(&case, &files, &Hands::of(&case)).start().await;
    let refused = r#"{"kind": "code", "code": "InvalidSecurityToken.Expired"}"#;
    gateway.fault(driver.name, refused);
    for _ in 0..3 {
        assert_eq!(in_short(&gateway.ask(&anybody()).await), HANDED_ON);
    }
    assert_eq!(
        (gateway.sandbox.calls(driver.name), gateway.sandbox.issuer().issued()),
        (2, 2),
        "once more, and no more"
    );
    assert_eq!(gateway.status_of("fetched").await["account_fault"]["reason"], "key_refused");
}

#[tokio::test]
async fn a_question_waits_half_of_its_attempt_for_a_source_that_hangs() {
    let (case, place) = temporary().next().unwrap();
    let files = Files::new(&case);
    let builder = gateway(&case, &files, &Hands::of(&case)).over_sandbox(move |sandbox| {
        sandbox.issuer().set_place_fault(place, Some(PlaceFault::Hang)).unwrap();
        "[providers.fetched]\nconnect_timeout = \"600ms\"\nattempt_timeout = \"600ms\"".to_owned()
    });
    let gateway = builder.start().await;
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(reply.attempts(), ["fetched=account_fault(no)", "yunyi=verdict(yes)"]);
    let waited = reply.body["provenance"]["attempts"][0]["duration_ms"].as_u64().unwrap();
    assert!((250..600).contains(&waited), "{waited}");
    // The fetch's own limit has not passed, so it is still the first fetch.
    assert_eq!((gateway.sandbox.issuer().requests(place), refreshes(&gateway, "failure").await), (1, 0.0));
}

#[tokio::test]
async fn a_machine_of_version_1_is_asked_without_a_token_unless_that_is_forbidden() {
    let driver = Case::of("ecs_metadata").driver;
    for (allow, answer) in [("true", ANSWERED), ("false", HANDED_ON)] {
        let gateway = unhurried(TestGateway::new())
            .over_sandbox(move |sandbox| {
                sandbox.issuer().set_place_fault("metadata", Some(PlaceFault::NoTokens)).unwrap();
                let (endpoint, metadata) =
                    (sandbox.addresses(driver.name)[0], sandbox.issuer().address("metadata").unwrap());
                format!(
                    "[providers.fetched]\ndriver = \"{}\"\nendpoints = [\"http://{endpoint}\"]\n\
                     credentials = {{ kind = \"ecs_metadata\", allow_v1 = {allow}, endpoint = \"http://{metadata}\" }}",
                    driver.name
                )
            })
            .chain(&["fetched", "yunyi"])
            .start()
            .await;
        assert_eq!(in_short(&gateway.ask(&anybody()).await), answer);
    }
}

#[tokio::test]
async fn a_rotated_token_and_a_profile_with_other_keys_are_read_when_the_old_ones_are_refused() {
    let case = Case::of("cli_profile");
    let driver = case.driver;
    let files = Files::new(&case);
    let ak = |id: &str| {
        let profile = json!({"name": "role", "mode": "AK", "access_key_id": id, "access_key_secret": SECRET});
        std::fs::write(files.folder.join("config.json"), json!({"profiles": [profile]}).to_string()).unwrap();
    };
    ak(ID);
    let gateway = gateway(&case, &files, &Hands::of(&case)).start().await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
    let secret = idgate::domain::personal::Secret::new(SECRET);
    let other = Credential::new(&ACCESS_KEY, "rotated", secret);
    gateway.sandbox.accept(driver.name, vec![other]).unwrap();
    ak("rotated");
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
    assert_eq!(generation(&gateway).await, 2.0);
}

#[tokio::test]
async fn a_reload_keeps_what_was_fetched_and_another_source_takes_its_place_without_a_gap() {
    let case = Case::of("ecs_metadata");
    let files = Files::new(&case);
    let builder = gateway(&case, &files, &Hands::of(&case)).over("[reload]\npoll = \"0s\"");
    let gateway = builder.in_file(files.folder.join("idgate.toml")).start().await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
    let issuer = gateway.sandbox.issuer();

    gateway.rewrite(|toml| toml.replace("attempt_timeout = \"20s\"", "attempt_timeout = \"19s\""));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
    assert_eq!((issuer.issued(), generation(&gateway).await), (1, 1.0), "the same source is not asked again");

    let (uri, before) = (issuer.address("uri").unwrap(), issuer.requests("metadata"));
    gateway.rewrite(|toml| {
        toml.replace("kind = \"ecs_metadata\"", "kind = \"uri\"").replace(
            &format!("endpoint = \"http://{}\"", issuer.address("metadata").unwrap()),
            &format!("uri = \"http://{uri}/\""),
        )
    });
    issuer.set_place_fault("uri", Some(PlaceFault::Down)).unwrap();
    assert_eq!(gateway.reload().await.status, 200);
    until("the new source was asked", async || refreshes(&gateway, "failure").await >= 1.0).await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED, "the old keys are used until there are new ones");
    issuer.set_place_fault("uri", None).unwrap();
    gateway.admin_post("/v1/providers/fetched/restore").await;
    until("the new keys are in use", async || generation(&gateway).await >= 2.0).await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), ANSWERED);
    let credential = gateway.status_of("fetched").await["credential"].clone();
    assert_eq!((&credential["source"], &credential["from"]), (&json!("uri"), &json!("uri")));
    assert_eq!(issuer.requests("metadata"), before, "the old source is left alone");
}

/// Everything logged on this thread.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Told {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_token_and_no_key_is_told_by_a_log_a_metric_or_a_status() {
    let told = Told::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(told.clone());
    // With only one dispatcher, tracing caches a callsite as disabled if another thread without a subscriber reaches
    // it first. A second dispatcher prevents that.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _here = tracing::subscriber::set_default(subscriber.finish());
    let mut forbidden = vec![TOKEN.to_owned(), SECRET.to_owned()];
    forbidden.extend(Case::of_each_cloud().iter().map(|case| case.filled("{secret}", &Files::new(case))));
    let faults = [WrongDocument::Garbage, WrongDocument::NotSuccess, WrongDocument::MissingField, WrongDocument::Ended]
        .map(PlaceFault::WrongDocument)
        .into_iter()
        .chain([PlaceFault::Status(403), PlaceFault::Status(302), PlaceFault::Down]);
    let faults: Vec<_> = faults.collect();
    for case in Case::of_each_cloud() {
        let hands = Hands::of(&case);
        let files = Files::new(&case);
        let gateway = gateway(&case, &files, &hands).start().await;
        let issuer = gateway.sandbox.issuer();
        let mut said = format!("{:?}", gateway.ask(&anybody()).await);
        for fault in case.asks().iter().flat_map(|_| &faults) {
            issuer.end_all();
            issuer.set_place_fault(case.asks().unwrap(), Some(*fault)).unwrap();
            for _ in 0..2 {
                said += &format!("{:?}", gateway.ask(&anybody()).await);
            }
            said += &gateway.status_of("fetched").await.to_string();
            issuer.set_place_fault(case.asks().unwrap(), None).unwrap();
            let successes = refreshes(&gateway, "success").await;
            gateway.admin_post("/v1/providers/fetched/restore").await;
            until("there are keys again", async || refreshes(&gateway, "success").await > successes).await;
            said += &format!("{:?}", gateway.ask(&anybody()).await);
        }
        hands.set(14);
        said += &format!("{:?}", gateway.ask(&anybody()).await);
        for path in ["/metrics", "/v1/status", "/sandbox/credentials"] {
            said += &gateway.admin_get(path).await.1;
        }
        forbidden.extend(issuer.secrets().iter().map(|secret| secret.expose().to_owned()));
        told.clone().write_all(said.as_bytes()).unwrap();
    }
    assert!(forbidden.len() > 20, "{}", forbidden.len());
    let told = String::from_utf8_lossy(&told.0.lock().unwrap()).into_owned();
    assert!(
        told.contains("credential fetched") && told.contains("no credential from this source"),
        "it was listened to"
    );
    for secret in forbidden {
        let percent: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for form in [secret.clone(), STANDARD.encode(&secret), percent, format!("{:?}", secret.as_bytes())] {
            let place = told.find(&form).map(|at| told[..at].lines().next_back().unwrap_or_default().to_owned());
            assert_eq!(place, None, "a synthetic secret was told");
        }
    }
}
