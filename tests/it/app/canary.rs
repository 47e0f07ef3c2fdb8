//! Sends recognisable names, ID numbers and secrets through everything that can go wrong, and checks that no response,
//! log line (at any level) or metric contains them.
//!
//! Two responses may contain personal data and are not requested here: a verdict with `include_person`, and the
//! sandbox's list of invented people.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use idgate::domain::id_number::{Calendar, IdNumber};
use idgate::domain::name::Name;
use idgate::domain::subject::{DigestKey, PairRules, Subject};
use idgate::providers::DRIVERS;
use idgate::server::sandbox::People;
use md5::Md5;
use memchr::memmem;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{SandboxProcess, TempFile};
use crate::support::{Pair, person, pki};

/// A name that occurs nowhere else in the tests.
const NAME: &str = "龘靐齉";
const FOREIGN_NAME: &str = "CANARYBIRD, TESTA";
const KEY: &str = "idg_Q2FuYXJ5LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMDAwMDA";
const DIGEST_SECRET: &str = "canary-digest-secret-0123456789abcdef0123456789";

const OPERATOR: &str = "idg_Q2FuYXJ5LW9wZXJhdG9yLWZvci10ZXN0cy1vbmx5LTAwMDA";
const NEXT_SECRET: &str = "canary-secret-that-follows-0123456789";
const PROXY_LOGIN: &str = "canaryproxy:canary-proxy-password-0123456789";

/// Each provider is asked about this many canaries in turn, so that a request does not join a call still in flight.
/// With the canaries of the malformed requests, more than fifty people are used.
const PEOPLE: u64 = 13;

/// The finest level, including the logs of all dependencies.
const TRACE: &str = "trace,hyper::proto=trace,hyper_util::client=trace,reqwest::connect=trace,rustls=trace,h2=trace";

/// The `n`th canary: ID numbers that no other test uses.
fn canary(n: u64) -> Pair {
    Pair::new(NAME, &person(500_000 + n).id_number)
}

/// Every text that must not be found, in every encoding it could have been written in.
#[derive(Default)]
struct Forbidden(BTreeSet<String>);

impl Forbidden {
    fn add(&mut self, text: &str) {
        let hex = |bytes: &[u8]| hex::encode(bytes);
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let percent: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let digests = [Sha256::digest(text).to_vec(), Sha1::digest(text).to_vec(), Md5::digest(text).to_vec()];
        self.0.extend([text.to_owned(), escaped, percent.to_lowercase(), percent, hex(text.as_bytes())]);
        self.0.extend([STANDARD.encode(text), URL_SAFE_NO_PAD.encode(text), format!("{:?}", text.as_bytes())]);
        for digest in &digests {
            self.0.extend([hex(digest), hex(digest).to_uppercase(), STANDARD.encode(digest)]);
        }
    }

    /// Adds a person, including the identifying parts of the number and the keyed digest that serves as the cache
    /// key.
    fn add_person(&mut self, pair: &Pair) {
        self.add(&pair.name);
        self.add(&pair.id_number);
        // Birth date and sequence: together with a region they identify the person.
        self.0.extend(pair.id_number.get(6..17).map(str::to_owned));
        let mut hash = Sha256::new_with_prefix("idgate digest key");
        hash.update(DIGEST_SECRET);
        let number = IdNumber::parse(&pair.id_number, jiff::civil::date(2026, 11, 22), Calendar::Lenient).unwrap();
        let rules = PairRules { name_script: false };
        let subject = Subject::new(Name::parse(&pair.name).unwrap(), number, rules).unwrap();
        let digest = DigestKey::new(hash.finalize().into()).person(&subject);
        self.0.insert(hex::encode(digest.as_bytes()));
        self.0.insert(STANDARD.encode(digest.as_bytes()));
    }

    /// The first forbidden text in `text`, and its position.
    fn find<'a>(&'a self, text: &str) -> Option<(&'a str, usize)> {
        self.0.iter().find_map(|word| memmem::find(text.as_bytes(), word.as_bytes()).map(|at| (word.as_str(), at)))
    }

    /// Panics with the place and the surrounding text; the canary in it is synthetic.
    fn assert_not_in(&self, place: &str, text: &str) {
        if let Some((word, at)) = self.find(text) {
            let from = text.floor_char_boundary(at.saturating_sub(200));
            let to = text.ceil_char_boundary(at + word.len() + 200);
            panic!("{place} tells {word:?}: …{}…", &text[from..to]);
        }
    }
}

/// The process under test, and all its responses.
struct Scene {
    http: reqwest::Client,
    public: String,
    admin: String,
    answers: std::sync::Mutex<String>,
}

impl Scene {
    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let head = format!("{status} {:?}", response.headers());
        let body = response.text().await.expect("a whole answer");
        writeln!(self.answers.lock().unwrap(), "{head}\n{body}\n").unwrap();
        (status, body)
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let url = format!("{}/v1/verify", self.public);
        self.http.post(url).header("content-type", "application/json").bearer_auth(KEY).body(body)
    }

    async fn ask(&self, provider: &str, pair: &Pair) -> (u16, String) {
        let mut body = pair.body();
        body["purpose"] = format!("only_{provider}").into();
        self.send(self.post(body.to_string())).await
    }

    /// Restores a provider to its initial state: breakers closed, no account fault, no pause.
    async fn restore(&self, provider: &str) {
        self.send(self.http.post(format!("{}/v1/providers/{provider}/restore", self.admin))).await;
        loop {
            let (_, status) = self.send(self.http.get(format!("{}/v1/status", self.admin))).await;
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let all = status["providers"].as_array().unwrap();
            let of = all.iter().find(|one| one["name"] == provider).unwrap();
            if of["paused_seconds"].as_f64().is_none_or(|pause| pause <= 0.0) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Takes one provider through each of its documented codes and each way to corrupt a response.
    async fn every_fault(&self, index: u64, provider: &str, faults: &[String]) -> u32 {
        let mut failed = 0;
        for (fault, n) in faults.iter().zip(0..) {
            let url = format!("{}/sandbox/{provider}/fault", self.admin);
            let (status, text) = self.send(self.http.put(&url).body(fault.clone())).await;
            if status == 422 {
                continue;
            }
            assert_eq!(status, 204, "{provider} {fault}: {text}");
            let (status, _) = self.ask(provider, &canary(index * 1000 + n % PEOPLE)).await;
            failed += u32::from(status != 200);
            self.send(self.http.delete(&url)).await;
            self.restore(provider).await;
        }
        failed
    }
}

fn faults_of(driver: &idgate::providers::Driver) -> Vec<String> {
    let codes = driver.all_codes().map(|row| {
        let (code, message, reason) = (row.code, row.message, row.reason.as_str());
        serde_json::json!({"kind": "code", "code": code, "message": message, "reason": reason, "times": 1}).to_string()
    });
    let simple = [
        "hang",
        "reset",
        "close",
        "truncated",
        "garbage",
        "empty",
        "big",
        "other_form",
        "html_502",
        "redirect",
        "wrong_echo",
        "refuse_connections",
    ];
    let kinds = simple.map(|kind| format!("{{\"kind\": \"{kind}\"}}"));
    let more = [
        r#"{"kind": "slow", "delay": "400ms"}"#,
        r#"{"kind": "drip", "interval": "10ms"}"#,
        r#"{"kind": "status", "status": 500}"#,
        r#"{"kind": "status", "status": 404}"#,
        r#"{"kind": "status", "status": 666}"#,
    ];
    codes.chain(kinds).chain(more.map(str::to_owned)).collect()
}

/// A configuration with every kind of secret, and for each provider a purpose that uses only that provider.
fn configuration(level: &str, log: &str) -> String {
    let hash = |key: &str| hex::encode(Sha256::digest(key));
    let (_, server) = pki::shared();
    let purposes: Vec<_> = DRIVERS.iter().map(|driver| format!("only_{}", driver.name)).collect();
    let mut toml = format!(
        "[log]\nlevel = \"{level}\"\nfile = \"{log}\"\n[reload]\npoll = \"0s\"\n\
         [cache]\ndigest_key = {{ value = \"{DIGEST_SECRET}\" }}\nmatch_ttl = \"0s\"\nmismatch_ttl = \"0s\"\nno_record_ttl = \"0s\"\n\
         [holds]\ncalls = 1000000\nfirst = \"1ms\"\nlongest = \"1ms\"\n\
         [operators.canary]\nkeys = [{{ id = \"o1\", sha256 = \"{}\" }}]\n\
         [clients.canary]\nkeys = [{{ id = \"c1\", sha256 = \"{}\" }}]\npurposes = {:?}\nrate_limit = 100000\n",
        hash(OPERATOR),
        hash(KEY),
        [&["default".to_owned()][..], &purposes].concat()
    );
    toml += &server.section("tls", "");
    toml += &server.section("admin_tls", "");
    for driver in DRIVERS {
        let secrets = driver.sample().iter().filter(|(key, _)| driver.is_secret(key));
        let next: Vec<_> = secrets.map(|(key, _)| format!("{key} = {{ value = \"{NEXT_SECRET}\" }}")).collect();
        write!(
            toml,
            "[purposes.only_{0}]\norder = [\"{0}\"]\n[providers.{0}]\nnext = {{ {1} }}\nproxy = \"http://127.0.0.1:9\"\n\
             proxy_login = {{ value = \"{PROXY_LOGIN}\" }}\n",
            driver.name,
            next.join(", ")
        )
        .unwrap();
    }
    toml
}

/// Malformed requests, with a canary wherever one fits.
async fn everything_malformed(scene: &Scene) {
    let Pair { name, id_number } = canary(9_000);
    let bodies = [
        format!("{{\"name\": \"{name}\", \"id_number\": {id_number}}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\""),
        format!("{{\"name\": \"{name}\\ud800\", \"id_number\": \"{id_number}\"}}"),
        format!("{{\"{name}\": \"{id_number}\", \"{id_number}\": 1}}"),
        format!("{{\"{KEY}\": 1, \"name\": [\"{name}\"], \"id_number\": {{\"x\": \"{id_number}\"}}}}"),
        format!("{{\"name\": \"{name}\", \"name\": \"{name}\", \"id_number\": \"{id_number}\"}}"),
        format!("{{\"name\": \"{name}{id_number}\", \"id_number\": \"{id_number}\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}9\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{}\"}}", &id_number[..17]),
        format!("{{\"name\": \"{id_number}\", \"id_number\": \"{name}\"}}"),
        format!("{{\"name\": \"{FOREIGN_NAME}\", \"id_number\": \"{id_number}\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"purpose\": \"{id_number}\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"purpose\": \"{name}\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"reference\": \"{name}\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"reference\": \"a-{id_number}\"}}"),
        format!(
            "{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"reference\": \"{}\"}}",
            canary(9_001).id_number
        ),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"reference\": \"{KEY}\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"include_person\": \"{name}\"}}"),
        format!("name={name}&id_number={id_number}"),
        format!("\"{id_number}\""),
        id_number.clone(),
        format!("{{\"name\": \"{}\"}}", name.repeat(10_000)),
    ];
    for body in bodies {
        let (status, answer) = scene.send(scene.post(body.clone())).await;
        assert!((400..500).contains(&status), "{status} {body}: {answer}");
    }
    let good = canary(9_002).body().to_string();
    let headers = [
        "x-request-id",
        "idempotency-key",
        "prefer",
        "cache-control",
        "traceparent",
        "accept",
        "content-type",
        "x-other",
        "user-agent",
        "cookie",
        "referer",
    ];
    for header in headers {
        for value in [&id_number, KEY, &format!("wait={id_number}"), &format!("{name} {id_number}")] {
            let request = scene.post(good.clone());
            scene
                .send(request.header(header, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap()))
                .await;
        }
    }
    for key in [&id_number, &*format!("{KEY}x"), "idg_d3Jvbmc"] {
        let url = format!("{}/v1/verify", scene.public);
        let request =
            scene.http.post(url).header("content-type", "application/json").bearer_auth(key).body(good.clone());
        assert_eq!(scene.send(request).await.0, 401);
    }
    let query = format!("?name={name}&id_number={id_number}&key={KEY}");
    for path in [
        format!("/v1/verify{query}"),
        format!("/{id_number}/{name}"),
        format!("/v1/providers/{id_number}/isolate{query}"),
    ] {
        for base in [&scene.public, &scene.admin] {
            scene.send(scene.http.get(format!("{base}{path}"))).await;
            scene.send(scene.http.post(format!("{base}{path}")).bearer_auth(KEY).body(good.clone())).await;
        }
    }
    let fault = format!("{}/sandbox/aliyun/fault", scene.admin);
    for body in [
        format!("{{\"kind\": \"{id_number}\"}}"),
        format!("{{\"{name}\": 1}}"),
        format!("{{\"kind\": \"hang\", \"times\": \"{id_number}\"}}"),
        format!("{{\"kind\": \"reset\", \"id_number\": \"{id_number}\", \"times\": 1}}"),
    ] {
        scene.send(scene.http.put(&fault).body(body)).await;
    }
    scene.send(scene.http.put(format!("{}/sandbox/{id_number}/fault", scene.admin)).body("{}")).await;
    scene.send(scene.http.delete(&fault)).await;
    scene.send(scene.http.get(format!("{}/sandbox/aliyun/calls", scene.admin))).await;
}

/// Every admin operation, including failing ones.
async fn every_operation(scene: &Scene, file: &TempFile) {
    let Pair { name, id_number } = canary(9_003);
    let forget = format!("{}/v1/subjects/forget", scene.admin);
    let json = |body: String| scene.http.post(&forget).header("content-type", "application/json").body(body);
    assert_eq!(scene.send(json(canary(9_003).body().to_string())).await.0, 200);
    for body in [
        format!("{{\"name\": \"{name}\", \"id_number\": {id_number}}}"),
        format!("{{\"{name}\": \"{id_number}\"}}"),
        format!("{{\"name\": \"{id_number}\", \"id_number\": \"{name}\"}}"),
        format!("{{\"name\": \"{name}\", \"id_number\": \"{id_number}\", \"key\": \"{KEY}\"}}"),
        id_number.clone(),
    ] {
        assert!((400..500).contains(&scene.send(json(body)).await.0));
    }
    let reload = format!("{}/v1/reload", scene.admin);
    assert_eq!(scene.send(scene.http.post(&reload)).await.0, 200);
    let good = file.text();
    for bad in [
        format!("{good}\n[server]\nmax_in_flight = \"{NEXT_SECRET}\""),
        good.replace("[log]", &format!("[cache]\nmatch_ttl = \"{DIGEST_SECRET}\"\n[log]")),
        format!("[providers.other]\ndriver = \"{KEY}\"\n[operators.canary]\nkeys = [\"{OPERATOR}\"]"),
        good.replace("sha256 = \"", &format!("sha256 = \"{KEY}")),
        good.replace("value = \"", &format!("{PROXY_LOGIN} = \"")),
    ] {
        std::fs::write(&file.0, bad).unwrap();
        assert_eq!(scene.send(scene.http.post(&reload)).await.0, 422);
    }
    std::fs::write(&file.0, good).unwrap();
    let level = format!("{}/v1/log-level", scene.admin);
    let json = |body: String| scene.http.post(&level).header("content-type", "application/json").body(body);
    for body in [
        format!("{{\"level\": \"{id_number}\", \"for\": \"1m\"}}"),
        format!("{{\"level\": \"debug\", \"for\": \"{name}\"}}"),
        format!("{{\"level\": \"debug\", \"for\": \"1m\", \"reason\": \"{KEY}\"}}"),
        format!("{{\"{name}\": \"{KEY}\"}}"),
    ] {
        assert_eq!(scene.send(json(body)).await.0, 400);
    }
    // From here on at the finest level, whichever one is configured.
    assert_eq!(scene.send(json("{\"level\": \"trace\", \"for\": \"1h\"}".to_owned())).await.0, 200);
    for (driver, index) in DRIVERS.iter().zip(0..) {
        scene.every_fault(index, driver.name, &faults_of(driver)[..3]).await;
    }
    for query in [format!("?operator={id_number}"), format!("?{name}={KEY}"), String::new()] {
        scene.send(scene.http.get(format!("{}/v1/changes{query}", scene.admin))).await;
    }
    for path in ["/metrics", "/v1/status", "/readyz", "/livez", "/openapi.json", "/docs/", "/sandbox/credentials"] {
        scene.send(scene.http.get(format!("{}{path}", scene.admin))).await;
    }
    let stranger = scene.http.get(format!("{}/v1/status", scene.admin)).bearer_auth(KEY);
    assert_eq!(scene.send(stranger).await.0, 401, "a client is no operator");
    // Plain text sent to a TLS listener.
    for addr in [&scene.public, &scene.admin] {
        let mut stream = std::net::TcpStream::connect(addr.trim_start_matches("https://")).unwrap();
        std::io::Write::write_all(&mut stream, canary(9_004).body().to_string().as_bytes()).unwrap();
    }
}

/// Runs one process at this log level, with at most `most_faults` faults of each provider. Returns its output, by
/// place.
async fn sweep(level: &str, most_faults: usize) -> Vec<(&'static str, String)> {
    let log = TempFile::new(&format!("canary-{}.log", &level[..4]), "");
    let file = TempFile::new(&format!("canary-{}.toml", &level[..4]), &configuration(level, log.path()));
    let times = [("ATTEMPT_TIMEOUT", "300ms"), ("CONNECT_TIMEOUT", "300ms"), ("CALL_LIMIT", "600ms")];
    let short: Vec<_> = DRIVERS
        .iter()
        .flat_map(|driver| {
            times.map(|(key, time)| (format!("IDGATE__PROVIDERS__{}__{key}", driver.name.to_uppercase()), time))
        })
        .collect();
    let environment: Vec<_> = short.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let sandbox = SandboxProcess::start(&["--config", file.path()], &environment);
    let operator = reqwest::header::HeaderValue::from_str(&format!("Bearer {OPERATOR}")).unwrap();
    let (authority, _) = pki::shared();
    let scene = Arc::new(Scene {
        http: reqwest::Client::builder()
            .no_proxy()
            .retry(reqwest::retry::never())
            .tls_certs_only([reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
            .default_headers([(reqwest::header::AUTHORIZATION, operator)].into_iter().collect())
            .build()
            .unwrap(),
        public: format!("https://{}", sandbox.public),
        admin: format!("https://{}", sandbox.admin),
        answers: std::sync::Mutex::default(),
    });
    assert_eq!(scene.ask("aliyun", &canary(8_000)).await.0, 200, "the canaries are good questions");
    let mut tasks = tokio::task::JoinSet::new();
    for (driver, index) in DRIVERS.iter().zip(0..) {
        let scene = Arc::clone(&scene);
        tasks.spawn(async move {
            let faults: Vec<_> = faults_of(driver).into_iter().take(most_faults).collect();
            let failed = scene.every_fault(index, driver.name, &faults).await;
            let name = driver.name;
            assert!(failed as usize > faults.len() / 2, "{name}: only {failed} of {} faults hit", faults.len());
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    everything_malformed(&scene).await;
    every_operation(&scene, &file).await;
    sandbox.terminate();
    let (status, out, err) = sandbox.ended();
    assert_eq!(status.code(), Some(0), "{err}");
    let answers = std::mem::take(&mut *scene.answers.lock().unwrap());
    assert!(answers.contains("idgate_attempts_total") && log.text().lines().count() > 100);
    vec![("an answer", answers), ("the request log", log.text()), ("standard error", err), ("standard output", out)]
}

/// All people and secrets that were put in.
fn everything() -> Forbidden {
    let mut forbidden = Forbidden::default();
    (0..4).for_each(|index| (0..PEOPLE).for_each(|n| forbidden.add_person(&canary(index * 1000 + n))));
    [8_000, 9_000, 9_001, 9_002, 9_003, 9_004].iter().for_each(|n| forbidden.add_person(&canary(*n)));
    for text in [FOREIGN_NAME, "CANARYBIRD", KEY, OPERATOR, DIGEST_SECRET, NEXT_SECRET, PROXY_LOGIN] {
        forbidden.add(text);
    }
    forbidden.add(PROXY_LOGIN.split_once(':').unwrap().1);
    let (_, server) = pki::shared();
    server.key_pem.lines().filter(|line| !line.starts_with("-----")).for_each(|line| forbidden.add(line));
    for driver in DRIVERS {
        let secrets = driver.sample().iter().filter(|(key, _)| driver.is_secret(key));
        secrets.for_each(|(_, secret)| forbidden.add(secret));
    }
    // The hashes of the keys are not searched for: they occur only in the configuration.
    assert!(forbidden.find(&canary(0).body().to_string()).is_some(), "what was sent would be found");
    forbidden
}

fn assert_that_nothing_is_told(said: &[(&str, String)]) {
    let forbidden = everything();
    said.iter().for_each(|(place, text)| forbidden.assert_not_in(place, text));
    // The simulators mix up answers with their invented people on purpose, the welcome text shows the first of them,
    // and the API document has examples; so only the logs are checked for these people.
    let mut invented = Forbidden::default();
    for known in People::invented().iter() {
        invented.add(known.name.expose());
        invented.add(known.id_number.expose());
    }
    for (place, text) in said.iter().filter(|(place, _)| matches!(*place, "the request log" | "standard error")) {
        invented.assert_not_in(place, text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_number_or_secret_is_told_by_anything_that_the_process_says() {
    let said = sweep(TRACE, usize::MAX).await;
    let (_, err) = &said[2];
    assert!(err.contains("unreadable answer") && (err.contains("TRACE") || err.contains("DEBUG")), "{err}");
    assert_that_nothing_is_told(&said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_at_any_other_level() {
    for level in ["error", "warn", "info", "debug"] {
        assert_that_nothing_is_told(&sweep(level, 12).await);
    }
}

const CHILD: &str = "IDGATE_TEST_PANICS";

/// Runs only as the child process of the test below: a gateway with the real telemetry and a panic whose message
/// contains a person.
#[tokio::test]
async fn child_that_panics_with_a_canary() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let log: idgate::app::config::Log =
        serde_json::from_value(serde_json::json!({"level": "trace", "format": "json", "strangers_per_second": 20}))
            .unwrap();
    idgate::app::telemetry::start(&log).unwrap();
    let pair = canary(1);
    let text = format!("{} {} {KEY}", pair.name, pair.id_number);
    let armed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let trap = Arc::clone(&armed);
    let nonce = move || {
        assert!(!trap.swap(false, std::sync::atomic::Ordering::SeqCst), "{text}");
        uuid::Uuid::new_v4()
    };
    let (text, in_api) =
        (format!("{} {}", pair.name, pair.id_number), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let trap = Arc::clone(&in_api);
    let ordered = move || {
        assert!(!trap.swap(false, std::sync::atomic::Ordering::SeqCst), "{text}");
        uuid::Uuid::now_v7()
    };
    let ids = idgate::domain::clock::Ids::new(nonce, ordered);
    let gateway = crate::support::TestGateway::new().ids(ids).start().await;
    for trap in [armed, in_api] {
        trap.store(true, std::sync::atomic::Ordering::SeqCst);
        let reply = gateway.ask(&pair).await;
        assert!(reply.status == 500 && reply.code() == "internal", "it has panicked");
        for text in
            [reply.body.to_string(), gateway.admin_get("/metrics").await.1, gateway.admin_get("/v1/status").await.1]
        {
            assert!(!text.contains(NAME) && !text.contains(&pair.id_number) && !text.contains(KEY));
        }
    }
    // Also outside of any request, where the runtime catches the panic.
    let caught = std::panic::AssertUnwindSafe(async { panic!("{NAME}") }).catch_unwind().await;
    assert!(caught.is_err());
    assert!(idgate::app::telemetry::end(), "the log is written before the process ends");
}

#[test]
fn a_panic_tells_where_and_never_what() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "app::canary::child_that_panics_with_a_canary", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(child.status.success(), "{said}");
    assert_eq!(said.matches("canary.rs:").count(), 3, "each panic is told with its place: {said}");
    let mut forbidden = Forbidden::default();
    forbidden.add_person(&canary(1));
    forbidden.add(KEY);
    forbidden.assert_not_in("a panic", &said);
}
