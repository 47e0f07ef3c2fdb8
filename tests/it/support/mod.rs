//! The gateway under test: the real one, on free ports, with the real simulators as its providers instead of separate
//! stubs.
//!
//! ```ignore
//! let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).over("[cache]\nmatch_ttl = \"0s\"").start().await;
//! gateway.fault("aliyun", r#"{"kind": "hang"}"#);
//! let reply = gateway.ask(&person(7)).await;
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use idgate::app::config::{Found, Sources};
use idgate::app::lifecycle::Ended;
use idgate::app::simulated;
use idgate::app::{Gateway, World};
use idgate::domain::clock::{Clock, Ids};
use idgate::domain::verdict::Verdict;
use idgate::providers::Credential;
use idgate::server::http::access_log::AccessLog;
use idgate::server::sandbox::{People, Sandbox, SandboxHandle};
use idgate::verify::outbound::dns::LookUp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub mod documented;
pub mod net;
pub mod pki;
pub mod postgres;
pub mod process;
pub mod services;

/// A driver whose requests carry no time stamp, so its simulator answers whatever the gateway's clock says.
pub const TIMELESS: &str = "yunyi";

/// Describes a gateway to start.
pub struct Builder {
    overlays: Vec<String>,
    over_sandbox: Vec<OverSandbox>,
    variables: Vec<(String, String)>,
    endpoints: usize,
    unlisted: Verdict,
    access_log: AccessLog,
    clock: Option<Clock>,
    ids: Option<Ids>,
    file: Option<PathBuf>,
    look_up: Option<Arc<dyn LookUp>>,
    http: reqwest::Client,
}

/// Builds TOML from the simulators' addresses.
type OverSandbox = Box<dyn FnOnce(&SandboxHandle) -> String>;

pub struct TestGateway {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub sandbox: SandboxHandle,
    /// `http` or `https`, of the public and the admin listener.
    pub schemes: [&'static str; 2],
    pub http: reqwest::Client,
    file: Option<PathBuf>,
    stop: CancellationToken,
    /// Ends the gateway when a test drops it, so that its sockets are closed.
    serving: AbortOnDropHandle<Ended>,
    _simulators: Sandbox,
}

/// A response of the gateway, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

#[derive(Debug, Clone)]
pub struct Pair {
    pub name: String,
    pub id_number: String,
}

impl TestGateway {
    /// A gateway with all simulated providers, one endpoint each, in the order of the drivers.
    #[expect(clippy::new_ret_no_self, reason = "what is new is the description; `start` makes the gateway")]
    pub fn new() -> Builder {
        Builder {
            overlays: Vec::new(),
            over_sandbox: Vec::new(),
            variables: Vec::new(),
            endpoints: 1,
            // Most tests ask about invented people; by default the simulators would have no record of them.
            unlisted: Verdict::Match,
            access_log: AccessLog::nowhere(),
            clock: None,
            ids: None,
            file: None,
            look_up: None,
            http: client(),
        }
    }

    pub async fn ask(&self, pair: &Pair) -> Reply {
        self.ask_with(pair, &[]).await
    }

    pub async fn ask_with(&self, pair: &Pair, headers: &[(&str, &str)]) -> Reply {
        self.post(pair.body().to_string(), headers).await
    }

    /// Posts any body to `/v1/verify`.
    pub async fn post(&self, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> Reply {
        let mut request = self
            .http
            .post(format!("{}://{}/v1/verify", self.schemes[0], self.public))
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = Reply::of(request.send().await.expect("the gateway answers")).await;
        documented::assert_documented("POST /v1/verify", &reply);
        reply
    }

    /// A GET on the admin listener, as text.
    pub async fn admin_get(&self, path: &str) -> (StatusCode, String) {
        let response =
            self.http.get(format!("{}://{}{path}", self.schemes[1], self.admin)).send().await.expect("admin answers");
        (response.status(), response.text().await.expect("text"))
    }

    /// Atomically replaces the configuration file (see [`Builder::in_file`]) by an edited version.
    pub fn rewrite(&self, edit: impl FnOnce(String) -> String) {
        let path = self.file.as_ref().expect("its configuration is in a file");
        let (text, beside) = (std::fs::read_to_string(path).expect("the file is there"), path.with_extension("new"));
        std::fs::write(&beside, edit(text)).expect("a file beside it");
        std::fs::rename(beside, path).expect("the file takes its place");
    }

    pub async fn reload(&self) -> Reply {
        Reply::of(
            self.http
                .post(format!("{}://{}/v1/reload", self.schemes[1], self.admin))
                .send()
                .await
                .expect("admin answers"),
        )
        .await
    }

    /// A POST on the admin listener.
    pub async fn admin_post(&self, path: &str) -> StatusCode {
        self.http
            .post(format!("{}://{}{path}", self.schemes[1], self.admin))
            .send()
            .await
            .expect("admin answers")
            .status()
    }

    /// The entry of one provider in `/v1/status`.
    pub async fn status_of(&self, provider: &str) -> Value {
        let status: Value = serde_json::from_str(&self.admin_get("/v1/status").await.1).expect("status is JSON");
        let all = status["providers"].as_array().expect("providers").clone();
        all.into_iter().find(|one| one["name"] == provider).expect("the provider has a status")
    }

    /// The sum of all series of this name that have at least these labels, such as
    /// `idgate_attempts_total{provider="aliyun",outcome="verdict"}`.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.admin_get("/metrics").await.1;
        let wanted: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter(|(series, _)| wanted.iter().all(|label| series.contains(label)))
            .map(|(_, value)| value.parse::<f64>().expect("a number"))
            .sum()
    }

    /// Sets a fault on a simulator (`src/server/sandbox/fault.rs` lists the faults).
    pub fn fault(&self, provider: &str, json: &str) {
        self.sandbox
            .set_fault_json(provider, json.as_bytes())
            .unwrap_or_else(|error| panic!("{provider} {json}: {error}"));
    }

    /// Clears the fault of a simulator.
    pub fn mend(&self, provider: &str) {
        self.sandbox.clear_fault(provider).expect("the provider is simulated");
    }

    /// Stops the gateway. Returns whether all requests and calls in progress finished and are recorded.
    pub async fn stop(self) -> bool {
        self.stop.cancel();
        self.serving.await.expect("serving does not panic") == Ended::Complete
    }

    /// Starts the shutdown without waiting for it.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }
}

impl Builder {
    /// The providers to call, in this order.
    pub fn chain(self, order: &[&str]) -> Self {
        let order: Vec<_> = order.iter().map(|name| format!("{name:?}")).collect();
        self.over(format!("[chain]\norder = [{}]", order.join(", ")))
    }

    /// Adds TOML that overrides what was set before.
    pub fn over(mut self, toml: impl Into<String>) -> Self {
        self.overlays.push(toml.into());
        self
    }

    /// Adds TOML that depends on the simulators' addresses.
    pub fn over_sandbox(mut self, toml: impl FnOnce(&SandboxHandle) -> String + 'static) -> Self {
        self.over_sandbox.push(Box::new(toml));
        self
    }

    /// Sets an environment variable.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// The number of endpoints of each provider.
    pub fn endpoints(self, endpoints: usize) -> Self {
        Self { endpoints, ..self }
    }

    /// The verdict for people who are not on the simulators' list (default: match).
    pub fn unlisted(self, unlisted: Verdict) -> Self {
        Self { unlisted, ..self }
    }

    /// The access log (default: none).
    pub fn access_log(self, access_log: AccessLog) -> Self {
        Self { access_log, ..self }
    }

    /// The gateway's clock (default: the real one); the simulators always use the real time.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The source of the gateway's nonces and ids (default: the real one).
    pub fn ids(self, ids: Ids) -> Self {
        Self { ids: Some(ids), ..self }
    }

    /// Writes the whole configuration to this file, from which it can be reloaded.
    pub fn in_file(self, path: impl Into<PathBuf>) -> Self {
        Self { file: Some(path.into()), ..self }
    }

    /// Starts with `provider` accepting these credentials instead of the sandbox's own.
    pub async fn start_accepting(self, provider: &str, credentials: Vec<Credential>) -> TestGateway {
        let gateway = self.start().await;
        gateway.sandbox.accept(provider, credentials).expect("the provider is simulated");
        gateway
    }

    /// The DNS resolver for provider names (default: that of the system).
    pub fn look_up(self, look_up: Arc<dyn LookUp>) -> Self {
        Self { look_up: Some(look_up), ..self }
    }

    /// The HTTP client (default: one without a certificate).
    pub fn http(self, http: reqwest::Client) -> Self {
        Self { http, ..self }
    }

    /// Starts the simulators and the gateway.
    pub async fn start(self) -> TestGateway {
        let stop = CancellationToken::new();
        let mut world = World::real(self.access_log);
        let simulators = Sandbox::start(
            simulated::providers(self.endpoints).expect("drivers take their own sandbox settings"),
            People::invented(),
            self.unlisted,
            world.clock.clone(),
            world.ids.clone(),
            // A separate token: the simulators run until the end of the test, so that late answers still arrive.
            CancellationToken::new(),
        )
        .expect("loopback ports are free");
        world.clock = self.clock.unwrap_or(world.clock);
        world.ids = self.ids.unwrap_or(world.ids);
        world.look_up = self.look_up.unwrap_or(world.look_up);
        let sandbox = simulators.handle();
        world.more_admin = idgate::server::sandbox::router(sandbox.clone());
        let ports = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_notice = \"0s\"";
        let over_sandbox: Vec<_> = self.over_sandbox.into_iter().map(|toml| toml(&sandbox)).collect();
        let simulated = simulated::configuration(&sandbox);
        let layers = [ports.to_owned(), simulated].into_iter().chain(over_sandbox).chain(self.overlays);
        let sources = match &self.file {
            None => layers.fold(Sources::default(), Sources::over),
            Some(path) => {
                let layers = layers.map(|toml| toml.parse::<toml::Table>().expect("an overlay is TOML"));
                let whole = layers.fold(toml::Table::new(), laid_over);
                std::fs::write(path, whole.to_string()).expect("the file can be written");
                Sources { file: Some(path.clone()), ..Sources::default() }
            }
        };
        let sources = self.variables.iter().fold(sources, |sources, (name, value)| sources.with_variable(name, value));
        let Found { files, settings } = sources.find();
        let settings = settings.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let schemes = [&settings.tls, &settings.admin_tls].map(|tls| if tls.is_some() { "https" } else { "http" });
        let ledger = idgate::app::ledger(&settings, &world).await.unwrap_or_else(|error| panic!("{error}"));
        let gateway = Gateway::bind(settings, world, ledger).expect("the gateway starts").reloading(sources, files);
        let (public, admin) = (gateway.public_addr(), gateway.admin_addr());
        let serving = AbortOnDropHandle::new(tokio::spawn(gateway.serve(stop.clone())));
        let Self { http, file, .. } = self;
        TestGateway { public, admin, sandbox, schemes, http, file, stop, serving, _simulators: simulators }
    }
}

/// Merges tables like the layers of a configuration, except that a secret is replaced as a whole.
fn laid_over(mut below: toml::Table, above: toml::Table) -> toml::Table {
    for (key, value) in above {
        let both = (below.remove(&key), value);
        let value = match both {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) if !is_secret(&above) => {
                toml::Value::Table(laid_over(below, above))
            }
            (_, above) => above,
        };
        below.insert(key, value);
    }
    below
}

fn is_secret(table: &toml::Table) -> bool {
    ["env", "file", "value"].iter().any(|kind| table.len() == 1 && table.contains_key(*kind))
}

impl Reply {
    /// Reads a response to its end.
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.expect("the whole answer");
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status, headers, body }
    }

    /// The verdict; panics with the whole response if there is none.
    pub fn verdict(&self) -> &str {
        self.body["verdict"].as_str().unwrap_or_else(|| panic!("no verdict: {self:#?}"))
    }

    /// `provider`, `shared` or `cache`.
    pub fn source(&self) -> &str {
        self.body["provenance"]["source"].as_str().unwrap_or_else(|| panic!("no source: {self:#?}"))
    }

    /// The provider that answered.
    pub fn provider(&self) -> &str {
        self.body["provenance"]["provider"].as_str().unwrap_or_else(|| panic!("no provider: {self:#?}"))
    }

    /// The problem's code, or `""`.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The attempts of a verdict or a problem as `provider=outcome(billed)`.
    pub fn attempts(&self) -> Vec<String> {
        let attempts = match &self.body["provenance"] {
            Value::Null => &self.body["attempts"],
            provenance => &provenance["attempts"],
        };
        let short = |one: &Value| {
            let text = |key: &str| one[key].as_str().unwrap_or("?").to_owned();
            format!("{}={}({})", text("provider"), text("outcome"), text("billed"))
        };
        attempts.as_array().into_iter().flatten().map(short).collect()
    }

    /// A response header as text, or `""`.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Pair {
    pub fn new(name: &str, id_number: &str) -> Self {
        Self { name: name.to_owned(), id_number: id_number.to_owned() }
    }

    /// The body of a request about this pair.
    pub fn body(&self) -> Value {
        json!({"name": self.name, "id_number": self.id_number})
    }
}

/// The `n`th invented person: on no list, with a valid check character. Each `n` gives a different person.
pub fn person(n: u64) -> Pair {
    let (year, rest) = (1950 + n % 50, n / 50);
    let (month, rest) = (1 + rest % 12, rest / 12);
    let (day, rest) = (1 + rest % 28, rest / 28);
    let digits = format!("110101{year}{month:02}{day:02}{:03}", rest % 1000);
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: usize = digits.bytes().zip(weights).map(|(digit, weight)| usize::from(digit - b'0') * weight).sum();
    Pair::new("测试者", &format!("{digits}{}", char::from(b"10X98765432"[sum % 11])))
}

/// A person that no other test of this process asks about.
pub fn anybody() -> Pair {
    static NEXT: AtomicU64 = AtomicU64::new(100_000);
    person(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An HTTP client without proxy, redirects and retries.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .build()
        .expect("a client")
}

/// Limit on the wait for a condition that another task or process brings about; only a broken test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition that another task or process brings about.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
