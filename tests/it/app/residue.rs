//! Searches core dumps of an idle gateway, and of a busy one, for personal data and secrets.
//!
//! The gateway is a separate process. The simulators, the callers and the search run in this one, so the search
//! cannot find its own data.

use std::collections::HashSet;
use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use idgate::app::World;
use idgate::app::simulated;
use idgate::domain::personal::Secret;
use idgate::domain::verdict::Verdict;
use idgate::providers::{Credential, DRIVERS};
use idgate::server::http::access_log::AccessLog;
use idgate::server::sandbox::{People, Sandbox};
use memchr::memmem;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, TempFile, idgate};
use crate::support::net::{Authority, Door};
use crate::support::{Pair, pki};

/// Number of people that each provider is asked about.
const PEOPLE: usize = 50;

/// The first characters of every name; they occur nowhere else.
const FAMILY: &str = "龘靐";

/// The region, year and month in every ID number; no other test data has them.
const NUMBERS: &str = "659004188802";

/// A busy process is idle, and its stacks are wiped, much sooner; but the search takes its time.
const WIPED_WITHIN: Duration = Duration::from_secs(15);

const CLIENT_KEY: &str = "idg_cmVzaWR1ZS1vZi1hLWNsaWVudHMta2V5LXN5bnRoZXRpYw";
const DIGEST_SECRET: &str = "residue0digest0secret0synthetic0of0the0tests";

/// A secret for each provider, in the order of the drivers; none is part of another.
const SECRETS: [&str; 4] = [
    "residueAccessKeySecretOfTheFirstProvider",
    "residueAccessKeySecretOfTheSecondProvider",
    "residue0appcode0of0the0third0provider000",
    "residue0appcode0of0the0fourth0provider00",
];

fn person(n: usize) -> Pair {
    let digits = format!("{NUMBERS}{:02}{:03}", 1 + n % 28, 100 + n);
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: usize = digits.bytes().zip(weights).map(|(digit, weight)| usize::from(digit - b'0') * weight).sum();
    let given = char::from_u32(0x4e00 + u32::try_from(n).unwrap()).unwrap();
    Pair::new(&format!("{FAMILY}{given}"), &format!("{digits}{}", char::from(b"10X98765432"[sum % 11])))
}

/// A byte pattern to search for, and its description in a failure.
struct Wanted {
    what: &'static str,
    bytes: Vec<u8>,
}

/// Everything that identifies a person, in every encoding it passes through.
fn people() -> Vec<Wanted> {
    let mut all = Vec::new();
    let mut add = |what, bytes: &[u8]| all.push(Wanted { what, bytes: bytes.to_vec() });
    let percent: String = FAMILY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let utf16: Vec<u8> = FAMILY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let code_points: Vec<u8> = FAMILY.chars().flat_map(|one| u32::from(one).to_le_bytes()).collect();
    let escaped: String = FAMILY.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    add("a name", FAMILY.as_bytes());
    add("a name, percent-encoded", percent.as_bytes());
    add("a name, percent-encoded", percent.to_lowercase().as_bytes());
    add("a name, percent-encoded twice", percent.replace('%', "%25").as_bytes());
    add("a name in UTF-16", &utf16);
    add("a name in UTF-32", &code_points);
    add("a name, escaped", escaped.as_bytes());
    add("the beginning of a number", NUMBERS.as_bytes());
    for n in 0..PEOPLE {
        let Pair { id_number, .. } = person(n);
        // Date and sequence: together with the region they identify the person.
        add("the end of a number", &id_number.as_bytes()[10..]);
    }
    all
}

/// The secrets of providers, which stay in memory because calls use them, and those that are only needed at startup.
fn secrets() -> Vec<Wanted> {
    let wanted = |what, text: &str| Wanted { what, bytes: text.as_bytes().to_vec() };
    let mut all: Vec<_> = SECRETS.iter().map(|secret| wanted("a provider's secret", secret)).collect();
    all.push(wanted("a client's key", &CLIENT_KEY[4..]));
    all.push(wanted("the digest key", DIGEST_SECRET));
    all
}

/// `idgate serve` with the simulators of this process as its providers.
struct Gateway {
    child: Child,
    public: String,
    said: TempFile,
}

impl Gateway {
    fn start(scheme: &str, config: &str) -> Self {
        Self::start_with(scheme, scheme, config, &[])
    }

    fn start_with(test: &str, scheme: &str, config: &str, variables: &[(&str, &str)]) -> Self {
        let said = TempFile::new(&format!("residue-{test}.log"), "");
        let to = std::fs::File::create(said.path()).unwrap();
        let mut command = idgate(&["serve", "--config", config]);
        command.envs(variables.iter().copied());
        // A core dump includes reserved memory; a smaller reserve makes a smaller file.
        command.env("MIMALLOC_ARENA_RESERVE", "64MiB").stdout(Stdio::null()).stderr(to);
        let mut gateway = Self { child: command.spawn().unwrap(), public: String::new(), said };
        let began = Instant::now();
        loop {
            let said = gateway.said.text();
            if let Some(up) = said.lines().find(|line| line.contains("idgate is up")) {
                let up: Value = serde_json::from_str(up).unwrap();
                gateway.public = format!("{scheme}://{}/v1/verify", up["public"].as_str().unwrap());
                return gateway;
            }
            assert!(began.elapsed() < PATIENCE, "it does not come up: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Number of open connections, those of callers and to providers. Not simply of sockets: a runtime has some of its
    /// own, and opens them when its thread gets round to it.
    fn connections(&self) -> usize {
        let id = self.child.id();
        let table = std::fs::read_to_string(format!("/proc/{id}/net/tcp")).unwrap();
        let is_listener = |line: &&str| line.split_whitespace().nth(3) == Some("0A");
        let inodes: HashSet<_> = (table.lines().skip(1).filter(|line| !is_listener(line)))
            .filter_map(|line| line.split_whitespace().nth(9))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
        let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        links.filter(|link| inodes.contains(&*link.to_string_lossy())).count()
    }

    /// Waits until exactly `left` connections are open.
    async fn until_connections(&self, left: usize) {
        let began = Instant::now();
        loop {
            let open = self.connections();
            if open == left {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{open} connections");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the process has reloaded its files.
    async fn until_reloaded(&self) {
        let began = Instant::now();
        while !self.said.text().contains("the configuration was reloaded") {
            assert!(began.elapsed() < PATIENCE, "it does not reload");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How often each of `wanted` occurs in a core dump taken now, and the surroundings of the first occurrence.
    fn find(&self, wanted: &[Wanted]) -> Vec<(usize, String)> {
        let prefix = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-residue", std::process::id()));
        let id = self.child.id().to_string();
        let done = Command::new("gcore").arg("-o").arg(&prefix).arg(&id).output().unwrap();
        let file = prefix.with_extension(&id);
        let core = std::fs::File::open(&file);
        // The open file can still be read.
        let _ = std::fs::remove_file(file);
        let core = core.unwrap_or_else(|_| panic!("no core: {}", String::from_utf8_lossy(&done.stderr)));
        search(core, wanted)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads in chunks, each preceded by the end of the chunk before.
fn search(mut core: impl Read, wanted: &[Wanted]) -> Vec<(usize, String)> {
    const PIECE: usize = 8 << 20;
    const OVERLAP: usize = 256;
    let mut found = vec![(0, String::new()); wanted.len()];
    let mut piece = Vec::with_capacity(PIECE + OVERLAP);
    loop {
        let kept = piece.len().min(OVERLAP);
        piece.drain(..piece.len() - kept);
        if core.by_ref().take(PIECE as u64).read_to_end(&mut piece).unwrap() == 0 {
            return found;
        }
        for (Wanted { bytes, .. }, (count, around)) in wanted.iter().zip(&mut found) {
            // A match entirely within the overlap was already counted.
            for at in memmem::find_iter(&piece, bytes).filter(|at| at + bytes.len() > kept) {
                let shown = &piece[at.saturating_sub(64)..(at + 96).min(piece.len())];
                if *count == 0 {
                    *around = shown.escape_ascii().to_string();
                }
                *count += 1;
            }
        }
    }
}

/// The simulators of all drivers, each with a secret of its own.
fn simulators() -> Sandbox {
    let mut all = simulated::providers(1).unwrap();
    for (one, secret) in all.iter_mut().zip(SECRETS) {
        let secret = Secret::new(secret);
        let scheme = one.credential.scheme();
        one.credential = match scheme.is_bearer {
            true => Credential::bearer(scheme, secret),
            false => Credential::new(scheme, "residueId", secret),
        };
    }
    let world = World::real(AccessLog::nowhere());
    Sandbox::start(all, People::invented(), Verdict::Match, world.clock, world.ids, CancellationToken::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs gcore"]
async fn a_core_of_the_idle_process_holds_nobody_and_each_secret_where_its_credential_is() {
    look_into_memory("http").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs gcore"]
async fn a_core_holds_nobody_while_a_caller_keeps_a_connection_with_tls() {
    look_into_memory("https").await;
}

async fn look_into_memory(scheme: &str) {
    let listener = pki::Authority::new(&format!("residue-{scheme}"));
    let sandbox = simulators();
    let authority = Authority::new(&format!("residue-{scheme}"));
    let files: Vec<_> =
        (0..).zip(SECRETS).map(|(n, secret)| TempFile::new(&format!("residue-{scheme}-{n}"), secret)).collect();
    let digest = TempFile::new(&format!("residue-{scheme}-digest"), DIGEST_SECRET);
    let hash: String = hex::encode(Sha256::digest(CLIENT_KEY));
    let purposes: Vec<_> = DRIVERS.iter().map(|driver| format!("only_{}", driver.name)).collect();
    let mut toml = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
         [cache]\ndigest_key = {{ file = {:?} }}\n[holds]\ncalls = 1000\n[reload]\npoll = \"50ms\"\n[chain]\norder = [{:?}]\n\
         [clients.c]\nkeys = [{{ id = \"c1\", sha256 = \"{hash}\" }}]\nrate_limit = 100000\npurposes = {purposes:?}\n",
        digest.path(),
        DRIVERS[0].name
    );
    if scheme == "https" {
        toml.push_str(&listener.server().section("tls", ""));
    }
    let mut doors = Vec::new();
    for (driver, file) in DRIVERS.iter().zip(&files) {
        let (name, simulator) = (driver.name, sandbox.addresses(driver.name)[0]);
        // Every other provider uses TLS, which has buffers of its own.
        let endpoint = if doors.len() % 2 == 0 {
            let door = Door::open(&authority.issue(&["localhost"])).await;
            door.lead_to(simulator);
            door.url("localhost")
        } else {
            format!("http://{simulator}")
        };
        doors.push(endpoint.clone());
        let secret = match driver.is_secret("app_code") {
            true => "app_code",
            false => "access_key_id = { value = \"residueId\" }\naccess_key_secret",
        };
        write!(
            toml,
            "[purposes.only_{name}]\norder = [\"{name}\"]\n[providers.{name}]\ndriver = \"{name}\"\n\
             endpoints = [{endpoint:?}]\n{}\nidle_timeout = \"1s\"\n{secret} = {{ file = {:?} }}\n",
            authority.ca_file(),
            file.path()
        )
        .unwrap();
    }
    let config = TempFile::new(&format!("residue-{scheme}.toml"), &toml);
    let gateway = Gateway::start(scheme, config.path());
    // A caller that keeps one connection open.
    let root = reqwest::Certificate::from_pem(listener.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([root]).pool_max_idle_per_host(1).build().unwrap();
    let ask = |purpose: String, pair: Pair, key: String| {
        let mut body = pair.body();
        body["purpose"] = purpose.into();
        body["include_person"] = true.into();
        let request = http.post(&gateway.public).header("content-type", "application/json").bearer_auth(CLIENT_KEY);
        request.header("idempotency-key", key).body(body.to_string()).send()
    };
    for purpose in &purposes {
        for n in 0..PEOPLE {
            let reply = ask(purpose.clone(), person(n), format!("{purpose}-{n}")).await.unwrap();
            assert_eq!(reply.status(), 200);
            assert!(reply.text().await.unwrap().contains("\"match\""));
        }
    }
    let damaged = Pair { id_number: format!("{}?", person(1).id_number), ..person(1) };
    let reply = ask(purposes[0].clone(), damaged, "damaged".to_owned()).await.unwrap();
    assert_eq!(reply.status(), 422);
    assert!(reply.text().await.unwrap().contains("invalid_id_number"));

    // The caller's connection stays open, with hyper's buffer for it; the connections to the providers are closed.
    gateway.until_connections(1).await;
    let (people, secrets) = (people(), secrets());
    // The stacks are wiped soon after the last request, not at once.
    let began = Instant::now();
    loop {
        let found = gateway.find(&people);
        let Some((wanted, (_, around))) = people.iter().zip(&found).find(|(_, (count, _))| *count > 0) else { break };
        assert!(began.elapsed() < WIPED_WITHIN, "{}, for example …{around}…", wanted.what);
    }
    for (wanted, (count, around)) in secrets.iter().zip(gateway.find(&secrets)) {
        let live = usize::from(SECRETS.iter().any(|secret| secret.as_bytes() == wanted.bytes));
        assert_eq!(count, live, "{}, for example …{around}…", wanted.what);
    }

    // A replaced secret is no longer in memory.
    let (current, replaced) = ("residueOfTheSecretThatFollows", &SECRETS[0]);
    std::fs::write(files[0].path(), current).unwrap();
    let both = [current, replaced].map(|secret| Wanted { what: "a secret", bytes: secret.as_bytes().to_vec() });
    gateway.until_reloaded().await;
    let found: Vec<_> = gateway.find(&both).into_iter().map(|(count, _)| count).collect();
    assert_eq!(found, [1, 0]);

    // Control: the same search finds a person whose request is in progress.
    sandbox.handle().set_fault_json(DRIVERS[1].name, br#"{"kind": "hang"}"#).unwrap();
    let calls = sandbox.handle().calls(DRIVERS[1].name);
    let asked = tokio::spawn(ask(purposes[1].clone(), person(PEOPLE), "hangs".to_owned()));
    let began = Instant::now();
    while sandbox.handle().calls(DRIVERS[1].name) == calls {
        assert!(began.elapsed() < PATIENCE, "the question does not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = gateway.find(&people);
    let seen = |what: &str| people.iter().zip(&found).any(|(wanted, (count, _))| wanted.what == what && *count > 0);
    assert!(seen("a name") && seen("the beginning of a number"), "the search finds nobody at all");
    asked.abort();
}

/// For this long the worker never sleeps; its stack is wiped much sooner.
const BUSY_FOR: Duration = Duration::from_secs(30);

/// The connections of strangers that keep the worker busy, and how many requests of each are always on their way.
const STRANGERS: usize = 16;
const AHEAD: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs gcore"]
async fn a_worker_that_is_busy_without_a_pause_leaves_no_more_than_its_present_requests() {
    let sandbox = simulators();
    let (driver, secret) = (&DRIVERS[0], TempFile::new("residue-busy", SECRETS[0]));
    let hash: String = hex::encode(Sha256::digest(CLIENT_KEY));
    let endpoint = sandbox.addresses(driver.name)[0];
    let toml = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[chain]\norder = [{name:?}]\n\
         [clients.c]\nkeys = [{{ id = \"c1\", sha256 = \"{hash}\" }}]\nrate_limit = 100000\npurposes = [\"default\"]\n\
         [providers.{name}]\ndriver = {name:?}\nendpoints = [\"http://{endpoint}\"]\nidle_timeout = \"1s\"\n\
         access_key_id = {{ value = \"residueId\" }}\naccess_key_secret = {{ file = {:?} }}\n",
        secret.path(),
        name = driver.name
    );
    let config = TempFile::new("residue-busy.toml", &toml);
    let gateway = Gateway::start_with("busy", "http", config.path(), &[("TOKIO_WORKER_THREADS", "1")]);
    let address = gateway.public.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    for n in 0..PEOPLE {
        let mut body = person(n).body();
        body["include_person"] = true.into();
        let request = http.post(&gateway.public).header("content-type", "application/json").bearer_auth(CLIENT_KEY);
        let reply = request.header("idempotency-key", n.to_string()).body(body.to_string()).send().await.unwrap();
        assert_eq!(reply.status(), 200);
    }
    // Strangers: what refuses them uses far less of the stack than what a question needs.
    let strangers: Vec<_> = (0..STRANGERS).map(|_| tokio::spawn(ask_without_end(address.clone()))).collect();
    let began = Instant::now();
    let people = people();
    loop {
        let found = gateway.find(&people);
        let Some((wanted, (_, around))) = people.iter().zip(&found).find(|(_, (count, _))| *count > 0) else { break };
        assert!(began.elapsed() < BUSY_FOR, "{}, for example …{around}…", wanted.what);
    }
    // Only a request that is under way is found.
    sandbox.handle().set_fault_json(driver.name, br#"{"kind": "hang"}"#).unwrap();
    let calls = sandbox.handle().calls(driver.name);
    let request = http.post(&gateway.public).header("content-type", "application/json").bearer_auth(CLIENT_KEY);
    let asked = tokio::spawn(request.body(person(PEOPLE).body().to_string()).send());
    let began = Instant::now();
    while sandbox.handle().calls(driver.name) == calls {
        assert!(began.elapsed() < PATIENCE, "the question does not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = gateway.find(&people);
    assert!(found[0].0 > 0, "the search finds nobody at all");
    for (wanted, (count, around)) in
        people.iter().zip(&found).filter(|(wanted, _)| wanted.what == "the end of a number")
    {
        assert_eq!(*count, 0, "{}, for example …{around}…", wanted.what);
    }
    asked.abort();
    assert!(strangers.iter().all(|stranger| !stranger.is_finished()));
    strangers.iter().for_each(|stranger| stranger.abort());
}

/// Sends requests that are refused, and always the next ones before the answers.
async fn ask_without_end(address: String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.split();
    let requests = "POST /v1/verify HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n".repeat(AHEAD);
    let send = async {
        loop {
            to.write_all(requests.as_bytes()).await.unwrap();
        }
    };
    let receive = async {
        let mut answers = vec![0; 64 * 1024];
        while from.read(&mut answers).await.unwrap() > 0 {}
        panic!("the gateway hung up");
    };
    tokio::join!(send, receive);
}
