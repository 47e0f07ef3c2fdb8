//! Descriptors that run out: strangers cannot take those of the admin listener or of the calls to providers, and a lack
//! of our own is no failure of a provider.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use super::{PATIENCE, SandboxProcess, ServeProcess, TempFile, run};
use crate::support::{Reply, anybody, client};

/// `idgate` with these arguments under a limit on open files, by `ulimit` and its options.
fn limited(ulimit: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit {ulimit} && exec \"$@\"");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_idgate")]).args(arguments).env_clear();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const FREE: [&str; 5] = ["sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

async fn get(http: &reqwest::Client, url: String) -> Value {
    let sent = http.get(&url).timeout(PATIENCE).send().await;
    let text = sent.unwrap_or_else(|error| panic!("{url}: {error:?}")).text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// A question about somebody new, over a connection of `http`.
async fn ask(http: &reqwest::Client, public: SocketAddr) -> Reply {
    let request = http.post(format!("http://{public}/v1/verify")).header("content-type", "application/json");
    let sent = request.body(anybody().body().to_string()).timeout(PATIENCE / 2).send().await;
    Reply::of(sent.unwrap_or_else(|error| panic!("no answer: {error:?}"))).await
}

/// The states of all breakers.
async fn breakers(http: &reqwest::Client, admin: SocketAddr) -> Vec<Value> {
    let status = get(http, format!("http://{admin}/v1/status")).await;
    let endpoints = status["providers"].as_array().unwrap().iter().flat_map(|one| one["endpoints"].as_array().unwrap());
    endpoints.map(|endpoint| endpoint["breaker"].clone()).collect()
}

#[tokio::test]
async fn idle_strangers_silence_neither_probes_nor_providers() {
    let mut command = limited("-n 256", &FREE);
    command.env("IDGATE__LOG__FILE", "/dev/null").env("IDGATE__SERVER__CONNECTIONS__FIRST_REQUEST_TIMEOUT", "10m");
    let sandbox = SandboxProcess::of(&mut command);
    let http = client();
    assert_eq!(ask(&http, sandbox.public).await.status, 200, "a caller has a connection");
    let strangers: Vec<_> = (0..400).map(|_| TcpStream::connect(sandbox.public).unwrap()).collect();

    let probe = client().get(format!("http://{}/livez", sandbox.admin)).timeout(PATIENCE / 2).send().await;
    assert_eq!(probe.expect("/livez answers").status(), 200);
    for _ in 0..10 {
        let reply = ask(&http, sandbox.public).await;
        assert_eq!((reply.status.as_u16(), reply.source()), (200, "provider"), "{reply:?}");
    }
    let mut refusal = String::new();
    TcpStream::connect(sandbox.public).unwrap().read_to_string(&mut refusal).unwrap();
    assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains(r#""code":"overloaded""#), "{refusal}");
    let states = breakers(&http, sandbox.admin).await;
    assert!(!states.is_empty() && states.iter().all(|state| state == "closed"), "{states:?}");
    drop(strangers);
    sandbox.terminate();
    let (_, _, err) = sandbox.ended();
    let told = err.contains("max_connections = 10000 does not fit the limit of 256 open files");
    assert!(told && err.contains("LimitNOFILE="), "{err}");
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one_and_check_says_what_does_not_fit() {
    let hard = getrlimit(Resource::Nofile).maximum.expect("a hard limit");
    let mut command = limited("-S -n 200", &FREE);
    let sandbox = SandboxProcess::of(command.env("IDGATE__LOG__FILE", "/dev/null"));
    let pid = Pid::from_raw(i32::try_from(sandbox.child.id()).unwrap());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", sandbox.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some(&*hard.to_string()), "{pid:?} {line}");

    let config = config("descriptors-check.toml", "127.0.0.1");
    let checked = run(&mut limited("-n 1024", &["check", "--config", config.path()]), "");
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    let told = checked.out.contains("valid") && checked.out.contains("the limit of 1024 open files");
    assert!(told && checked.out.contains("or lower server.connections.max_connections"), "{}", checked.out);
}

/// One provider, at a closed port of `host`.
fn config(name: &str, host: &str) -> TempFile {
    TempFile::new(
        name,
        &format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_notice = \"0s\"\n\
             [providers.none]\ndriver = \"muzhiyun\"\nendpoints = [\"http://{host}:9\"]\n\
             app_code = {{ value = \"0123456789abcdef0123456789abcdef\" }}\n[chain]\norder = [\"none\"]\n"
        ),
    )
}

/// From now on the process can open nothing more; or, with `false`, as much as before.
fn exhaust(process: &ServeProcess, exhausted: bool) {
    let id = process.child.id();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let is_free = |fd: &u64| !std::path::Path::new(&format!("/proc/{id}/fd/{fd}")).exists();
    let current = if exhausted { (0..).find(is_free) } else { maximum };
    prlimit(Pid::from_raw(i32::try_from(id).unwrap()), Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[tokio::test]
async fn a_lack_of_our_own_is_no_failure_of_the_provider() {
    for host in ["127.0.0.1", "localhost"] {
        let config = config("descriptors.toml", host);
        let served = ServeProcess::start(&["--config", config.path()]);
        let (public, admin, http) = (served.address("public"), served.address("admin"), client());
        // Both connections are open before the limit falls.
        http.get(format!("http://{}/", public)).send().await.unwrap().text().await.unwrap();
        breakers(&http, admin).await;
        exhaust(&served, true);
        for _ in 0..8 {
            let reply = ask(&http, public).await;
            assert_eq!(reply.attempts(), ["none=skipped_exhausted(no)"], "{host}: {reply:?}");
            assert_eq!((reply.status.as_u16(), reply.code()), (503, "no_provider_available"), "{reply:?}");
            assert!(reply.body["retryable"] == true && reply.header("retry-after") == "1", "{reply:?}");
            assert_eq!(reply.body["may_have_been_billed"], false, "{reply:?}");
        }
        assert_eq!(breakers(&http, admin).await, ["closed"], "{host}");
        let metrics = http.get(format!("http://{}/metrics", admin)).send().await.unwrap().text().await.unwrap();
        let counted =
            metrics.lines().find(|line| line.contains("outcome=\"skipped_exhausted\"") && line.ends_with(" 8"));
        assert!(counted.is_some(), "{metrics}");
        exhaust(&served, false);
        assert_eq!(ask(&http, public).await.attempts(), ["none=unreachable(no)"], "{host}: the port is closed");
    }
}
