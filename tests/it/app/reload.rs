//! Reloads of a running gateway: what they change, what they keep, and what is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;
use idgate::domain::personal::Secret;
use idgate::providers::Credential;
use idgate::providers::alibaba::schemes::{ACCESS_KEY, APP_CODE};
use serde_json::json;

use super::{PATIENCE, SandboxProcess, ServeProcess, TempFile};
use crate::support::{Pair, TestGateway, anybody, client as client_of_tests, person};

/// Disables polling: files are read again only when a test asks for it.
const BY_HAND: &str = "[reload]\npoll = \"0s\"\n";

/// Providers whose rate limits the load does not reach.
const FAST: &str = "[providers.aliyun]\nrate_limit = 1000000\n[providers.yunyi]\nrate_limit = 1000000\n";

/// A file of one test, deleted on drop.
fn file(name: &str) -> TempFile {
    TempFile::new(&format!("reload-{name}.toml"), "")
}

/// A mounted Kubernetes secret: `KEY -> ..data/KEY`, `..data -> ..VERSION`.
struct Mount(PathBuf);

impl Mount {
    fn new(name: &str, keys: &[(&str, &str)]) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (key, _) in keys {
            std::os::unix::fs::symlink(format!("..data/{key}"), folder.join(key)).unwrap();
        }
        let mount = Self(folder);
        mount.swap("1", keys);
        mount
    }

    fn file(&self, key: &str) -> String {
        self.0.join(key).display().to_string()
    }

    /// Replaces the version in one step, as kubelet does.
    fn swap(&self, version: &str, keys: &[(&str, &str)]) {
        let data = self.0.join(format!("..{version}"));
        std::fs::create_dir(&data).unwrap();
        for (key, content) in keys {
            std::fs::write(data.join(key), content).unwrap();
        }
        std::os::unix::fs::symlink(data.file_name().map(Path::new).unwrap(), self.0.join("..data_tmp")).unwrap();
        std::fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks about new people without a pause until it is stopped; every answer must be a verdict.
struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    askers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(gateway: &TestGateway) -> Self {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let askers = (0..4).map(|_| {
            let (stop, asked, http) = (Arc::clone(&stop), Arc::clone(&asked), gateway.http.clone());
            let url = format!("http://{}/v1/verify", gateway.public);
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let body = anybody().body().to_string();
                    let request = http.post(&url).header("content-type", "application/json").body(body);
                    let answer = request.send().await.unwrap();
                    let status = answer.status();
                    let text = answer.text().await.unwrap();
                    assert_eq!(status, 200, "{text}");
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let askers = askers.collect();
        Self { stop, asked, askers }
    }

    /// Waits until `more` further requests were answered.
    async fn answered(&self, more: u64) {
        let wanted = self.asked.load(Ordering::SeqCst) + more;
        let enough = async {
            while self.asked.load(Ordering::SeqCst) < wanted {
                assert!(!self.askers.iter().any(|asker| asker.is_finished()), "an asker has failed");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.expect("the load goes on");
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        for asker in self.askers {
            asker.await.unwrap();
        }
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_ten_of_them_bad_lose_nothing_and_forget_nothing() {
    let file = file("hundred");
    let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).over(BY_HAND).over(FAST).in_file(file.path());
    let gateway = gateway.start().await;
    let known = person(1);
    assert_eq!(gateway.ask(&known).await.source(), "provider");
    // Five faults in a row open the breaker. Here it stays open for minutes, so that no probe closes it during the
    // test.
    gateway.rewrite(|toml| toml.replace("[chain]", "[breaker]\nopen_for = \"5m\"\n[chain]"));
    assert_eq!(gateway.reload().await.status, 200);
    gateway.fault("aliyun", r#"{"kind": "status", "status": 500}"#);
    for _ in 0..5 {
        gateway.ask(&anybody()).await;
    }
    gateway.mend("aliyun");
    let breaker = || async { gateway.status_of("aliyun").await["endpoints"][0]["breaker"].clone() };
    assert_eq!(breaker().await, "open");
    let calls = gateway.sandbox.calls("aliyun");

    let load = Load::on(&gateway);
    // With the reload before and the one after, a hundred.
    for n in 1..99 {
        let bad = n % 10 == 0;
        gateway.rewrite(|toml| {
            let lines = toml.lines().filter(|line| !line.starts_with("attempt_timeout") && *line != "nonsense = 1");
            let toml: String = lines.map(|line| format!("{line}\n")).collect();
            let toml =
                toml.replace("[providers.yunyi]", &format!("[providers.yunyi]\nattempt_timeout = \"{}s\"", 2 + n % 2));
            if bad { toml.replace("[chain]", "[chain]\nnonsense = 1") } else { toml }
        });
        let reply = gateway.reload().await;
        match bad {
            true => {
                assert_eq!((reply.status, reply.code()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid_configuration"))
            }
            false => assert_eq!((reply.status, &reply.body["added"]), (StatusCode::OK, &json!([]))),
        }
    }
    // The tenth bad one.
    gateway.rewrite(|_| "nonsense".to_owned());
    assert_eq!(gateway.reload().await.status, 422);
    load.answered(20).await;
    assert!(load.end().await > 100);

    assert_eq!(gateway.metric("idgate_config_reloads_total", &[("result", "success")]).await, 90.0);
    assert_eq!(gateway.metric("idgate_config_reloads_total", &[("result", "failure")]).await, 10.0);
    assert_eq!(breaker().await, "open");
    assert_eq!(gateway.sandbox.calls("aliyun"), calls, "nobody was sent to the open one");
    assert_eq!(gateway.ask(&known).await.source(), "cache");
}

#[tokio::test]
async fn a_reload_tells_what_differs_by_section() {
    let file = file("sections");
    let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).over(BY_HAND).in_file(file.path()).start().await;
    assert_eq!(gateway.reload().await.body, json!({"added": [], "changed": [], "removed": []}));
    gateway.rewrite(|toml| {
        toml.replace("order = [\"aliyun\", \"yunyi\"]", "order = [\"yunyi\"]")
            + "\n[purposes.default]\non_unknown = \"stop\"\n"
    });
    assert_eq!(
        gateway.reload().await.body,
        json!({"added": ["purposes.default"], "changed": ["chain"], "removed": []})
    );
    assert_eq!(gateway.ask(&anybody()).await.provider(), "yunyi");
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_by_name_and_changes_nothing_else() {
    let file = file("fixed");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(BY_HAND).in_file(file.path()).start().await;
    gateway.rewrite(|toml| {
        let other_port = format!("admin_listen = \"127.0.0.1:{}\"", gateway.public.port());
        toml.replace("admin_listen = \"127.0.0.1:0\"", &other_port)
            .replace("order = [\"aliyun\"]", "order = [\"yunyi\"]")
    });
    let reply = gateway.reload().await;
    assert_eq!((reply.status.as_u16(), reply.code()), (422, "invalid_configuration"));
    let errors = reply.body["errors"].as_array().unwrap();
    let told = errors[0]["detail"].as_str().unwrap();
    assert!(errors.len() == 1 && told.starts_with("server.admin_listen: ") && told.contains("restart"), "{told}");
    assert_eq!(gateway.ask(&anybody()).await.provider(), "aliyun");
}

#[tokio::test]
async fn a_file_that_was_cut_off_before_its_clients_or_operators_lets_nobody_in() {
    let file = file("cut-off");
    let operators = client("oncall", "").replace("[clients.", "[operators.");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(BY_HAND).over(client("payout", "")).over(operators);
    let gateway = gateway.in_file(file.path()).start().await;
    let reload = async || {
        let url = format!("http://{}/v1/reload", gateway.admin);
        let request = gateway.http.post(url).header("authorization", "Bearer idg_oncall");
        crate::support::Reply::of(request.send().await.unwrap()).await
    };
    let whole = std::fs::read_to_string(file.path()).unwrap();
    for lost in ["clients", "operators"] {
        gateway.rewrite(|_| {
            let mut toml: toml::Table = whole.parse().unwrap();
            toml.remove(lost).unwrap();
            toml.to_string()
        });
        let reply = reload().await;
        assert_eq!((reply.status.as_u16(), reply.code()), (422, "invalid_configuration"), "{lost}: {reply:?}");
        let told = reply.body["errors"][0]["detail"].as_str().unwrap();
        assert!(told.starts_with(&format!("{lost}: has no section left")) && told.contains("restart"), "{told}");
        assert_eq!(gateway.ask(&anybody()).await.status, 401, "{lost}");
        assert_eq!(gateway.admin_post("/v1/providers/aliyun/isolate").await, 401, "{lost}");
    }
    // One of two may go.
    gateway.rewrite(|_| whole.clone() + &client("second", ""));
    assert_eq!(reload().await.body["added"], json!(["clients.second"]));
    gateway.rewrite(|_| whole);
    assert_eq!(reload().await.body["removed"], json!(["clients.second"]));
}

#[tokio::test]
async fn what_an_operator_has_set_aside_stays_aside_and_a_hold_stays_a_hold() {
    let file = file("aside");
    let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).over(BY_HAND).in_file(file.path()).start().await;
    let repeated = anybody();
    gateway.fault("yunyi", r#"{"kind": "status", "status": 500}"#);
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "subject_throttled"}"#);
    gateway.ask(&repeated).await;
    gateway.mend("aliyun");
    gateway.mend("yunyi");
    assert_eq!(gateway.admin_post("/v1/providers/yunyi/isolate").await, 204);
    gateway.rewrite(|toml| {
        toml.replace("[chain]", "[cache]\nmatch_ttl = \"9m\"\n[chain]") + "\n[holds]\nfirst = \"20m\"\n"
    });
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(gateway.status_of("yunyi").await["isolated"], true);
    let reply = gateway.ask(&repeated).await;
    assert_eq!(reply.attempts(), ["aliyun=skipped_hold(no)", "yunyi=skipped_open(no)"]);
}

#[tokio::test]
async fn a_question_in_flight_while_the_configuration_changes_is_joined_and_not_asked_again() {
    let file = file("flight");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(BY_HAND).in_file(file.path()).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "1s"}"#);
    let asked = anybody();
    let first = gateway.ask(&asked);
    let second = async {
        while gateway.sandbox.calls("aliyun") == 0 {
            tokio::task::yield_now().await;
        }
        gateway.rewrite(|toml| toml.replace("[providers.aliyun]", "[providers.aliyun]\nmax_concurrency = 9"));
        assert_eq!(gateway.reload().await.status, 200);
        gateway.ask(&asked).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.source(), second.source()), ("provider", "shared"));
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
}

#[tokio::test]
async fn a_provider_that_is_gone_is_gone_from_the_gauges_and_a_lifetime_counts_at_once() {
    let file = file("gone");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(BY_HAND).in_file(file.path()).start().await;
    let known = anybody();
    gateway.ask(&known).await;
    assert!(gateway.admin_get("/metrics").await.1.contains("idgate_provider_available{provider=\"muzhiyun\"}"));
    gateway.rewrite(|toml| {
        let mut toml: toml::Table = toml.parse().unwrap();
        toml["providers"].as_table_mut().unwrap().remove("muzhiyun");
        toml.insert("cache".to_owned(), toml::Value::Table("match_ttl = \"0s\"".parse().unwrap()));
        toml.to_string()
    });
    let reply = gateway.reload().await;
    assert_eq!(reply.body, json!({"added": [], "changed": ["cache"], "removed": ["providers.muzhiyun"]}));
    let metrics = gateway.admin_get("/metrics").await.1;
    for gauge in ["idgate_provider_available", "idgate_breaker_state", "idgate_account_fault", "idgate_in_flight"] {
        let of_it = metrics.lines().find(|line| line.starts_with(gauge) && line.contains("muzhiyun"));
        assert_eq!(of_it, None);
    }
    assert_eq!(gateway.ask(&known).await.source(), "provider");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s41_an_app_code_that_is_replaced_by_a_symlink_swap_under_load_loses_no_question() {
    let mount = Mount::new("app-code", &[("app_code", "the-first-app-code\n")]);
    let file = file("rotation");
    let toml = format!(
        "[reload]\npoll = \"20ms\"\n[providers.yunyi]\napp_code = {{ file = {:?} }}\nnext = {{ app_code = {{ value = \"the-second\" }} }}\n",
        mount.file("app_code")
    );
    let gateway = TestGateway::new().chain(&["yunyi"]).over(toml).over(FAST).in_file(file.path());
    let code = |text: &str| Credential::bearer(&APP_CODE, Secret::new(text));
    let gateway = gateway.start_accepting("yunyi", vec![code("the-first-app-code")]).await;
    let generation = || gateway.metric("idgate_credential_generation", &[("provider", "yunyi")]);
    let load = Load::on(&gateway);
    load.answered(10).await;
    assert_eq!(generation().await, 1.0);
    // The provider accepts both codes for a while, the new code is mounted, then the old one expires.
    gateway.sandbox.accept("yunyi", vec![code("the-first-app-code"), code("the-third")]).unwrap();
    mount.swap("2", &[("app_code", "the-third\n")]);
    let moved = async {
        while generation().await < 2.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, moved).await.expect("the new code comes into use");
    gateway.sandbox.accept("yunyi", vec![code("the-third")]).unwrap();
    load.answered(50).await;
    // Without an overlap: the next code is already configured.
    gateway.sandbox.accept("yunyi", vec![code("the-second")]).unwrap();
    load.answered(50).await;
    load.end().await;
    assert_eq!(generation().await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s41_an_access_key_whose_two_halves_are_swapped_under_load_never_signs_with_one_of_each() {
    let pair = |n: u32| [format!("canaryAccessKey{n}"), format!("canarySecret{n}")];
    let of = |n: u32| {
        let [id, secret] = pair(n);
        Credential::new(&ACCESS_KEY, id, Secret::new(secret))
    };
    let [id, secret] = pair(0);
    let mount = Mount::new("access-key", &[("id", &id), ("secret", &secret)]);
    let toml = format!(
        "[reload]\npoll = \"20ms\"\n[providers.aliyun]\naccess_key_id = {{ file = {:?} }}\naccess_key_secret = {{ file = {:?} }}\n",
        mount.file("id"),
        mount.file("secret")
    );
    let file = file("access-key");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(toml).over(FAST).in_file(file.path());
    // All key pairs are valid throughout the test, so a refusal can only mean that halves of two pairs were mixed.
    let gateway = gateway.start_accepting("aliyun", (0..10).map(of).collect()).await;
    let load = Load::on(&gateway);
    for n in 1..10 {
        let [id, secret] = pair(n);
        mount.swap(&format!("{}", n + 1), &[("id", &id), ("secret", &secret)]);
        let in_use = async {
            while gateway.metric("idgate_credential_generation", &[("provider", "aliyun")]).await < f64::from(n + 1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, in_use).await.expect("the new key comes into use");
    }
    load.answered(50).await;
    load.end().await;
    assert_eq!(gateway.sandbox.refused("aliyun"), 0, "no request was signed with halves of two keys");
}

#[tokio::test]
async fn a_new_key_brings_back_at_once_what_the_old_one_had_set_aside() {
    let file = file("restored");
    let gateway = TestGateway::new().chain(&["yunyi"]).over(BY_HAND).in_file(file.path()).start().await;
    gateway.sandbox.accept("yunyi", vec![Credential::bearer(&APP_CODE, Secret::new("the-new-one"))]).unwrap();
    assert_eq!(gateway.ask(&anybody()).await.code(), "no_provider_available");
    gateway.rewrite(|toml| {
        let mut toml: toml::Table = toml.parse().unwrap();
        toml["providers"]["yunyi"]["app_code"]["value"] = "the-new-one".into();
        toml.to_string()
    });
    assert_eq!(gateway.reload().await.body["changed"], json!(["providers.yunyi"]));
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
}

#[test]
fn a_hangup_is_a_reload_and_a_bad_file_is_told_once_with_all_its_mistakes() {
    const BASE: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_notice = \"0s\"\n\
                        [providers.none]\ndriver = \"muzhiyun\"\nendpoints = [\"http://127.0.0.1:9\"]\n\
                        app_code = { value = \"0123456789abcdef0123456789abcdef\" }\n[chain]\norder = [\"none\"]\n";
    let file = TempFile::new("hangup.toml", &format!("{BASE}[reload]\npoll = \"0s\"\n"));
    let serving = ServeProcess::start(&["--config", file.path()]);
    let hang_up = |expected: &str| {
        super::signal(&serving.child, "HUP");
        serving.says(expected);
    };
    std::fs::write(file.path(), format!("{BASE}[reload]\npoll = \"0s\"\n[cache]\nmatch_ttl = \"5m\"\n")).unwrap();
    hang_up("changed cache");
    let purpose = format!("{BASE}[reload]\npoll = \"0s\"\n[purposes.default]\non_unknown = \"stop\"\n");
    std::fs::write(file.path(), purpose).unwrap();
    hang_up("added purposes.default");
    std::fs::write(file.path(), format!("{BASE}[reload]\npoll = \"0s\"\n")).unwrap();
    hang_up("sections were removed from the configuration");
    std::fs::write(file.path(), format!("{BASE}[reload]\npoll = \"soon\"\n[cache]\nmatch_tll = \"5m\"\n")).unwrap();
    hang_up("the configuration has mistakes");
    super::signal(&serving.child, "TERM");
    let (status, err) = serving.ended();
    assert_eq!(status.code(), Some(0), "{err}");
    let told: Vec<_> = err.lines().filter(|line| line.contains("has mistakes")).collect();
    assert!(told.len() == 1 && told[0].contains("reload.poll") && told[0].contains("cache.match_tll"), "{err}");
}

/// A mount that hangs, played by a FIFO without a writer: a reload answers all the same and names the file, the next
/// looks are refused too, and SIGTERM ends the process.
#[tokio::test]
async fn a_file_that_hangs_holds_up_neither_a_reload_nor_the_end() {
    let secret = TempFile::new("hangs.key", "0123456789abcdef0123456789abcdef");
    let toml = format!("[reload]\npoll = \"1s\"\n[cache]\ndigest_key = {{ file = {:?} }}\n", secret.path());
    let config = TempFile::new("hangs.toml", &toml);
    let sandbox = SandboxProcess::start(&["--config", config.path()], &[]);
    let metrics = || async {
        let page = client_of_tests().get(format!("http://{}/metrics", sandbox.admin)).send().await.unwrap();
        page.text().await.unwrap()
    };
    assert!(metrics().await.contains("\nidgate_config_checked_timestamp_seconds 1"), "it has looked");
    std::fs::remove_file(secret.path()).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, secret.path(), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let reload = client_of_tests().post(format!("http://{}/v1/reload", sandbox.admin));
    let refused = tokio::time::timeout(PATIENCE, reload.send()).await.unwrap().unwrap().text().await.unwrap();
    assert!(refused.contains("takes too long") && refused.contains("hangs.key"), "{refused}");
    let live = client_of_tests().get(format!("http://{}/livez", sandbox.admin)).send().await.unwrap();
    assert_eq!(live.status(), StatusCode::OK);
    let began = std::time::Instant::now();
    sandbox.terminate();
    let (status, _, err) = sandbox.ended();
    assert!(status.success() && began.elapsed().as_secs() < 8, "{status}: {err}");
}

/// The configuration comes through a FIFO, so that the process is surely still starting.
#[test]
fn a_hangup_during_a_start_that_hangs_is_kept_and_a_stop_ends_it() {
    let fifo = TempFile::new("early-hangup.toml", "");
    std::fs::remove_file(fifo.path()).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, fifo.path(), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut serving = super::idgate(&["serve", "--config", fifo.path()]).spawn().unwrap();
    let began = std::time::Instant::now();
    let handles_hangup = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", serving.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & 1 == 1
    };
    while !handles_hangup() {
        assert!(began.elapsed() < PATIENCE, "nothing handles SIGHUP while it starts");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let kill = format!("kill -HUP {}", serving.id());
    assert!(std::process::Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
    // It still waits for its configuration, which keeps nobody from stopping it.
    let kill = format!("kill -TERM {}", serving.id());
    assert!(std::process::Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(serving.wait().unwrap().code(), Some(0));
}

/// The configuration section of a client whose key is `idg_NAME`.
fn client(name: &str, more: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash: String = hex::encode(Sha256::digest(format!("idg_{name}")));
    format!("[clients.{name}]\nkeys = [{{ id = \"{name}-1\", sha256 = \"{hash}\" }}]\n{more}\n")
}

#[tokio::test]
async fn a_reload_changes_rights_and_gives_nobody_more_of_a_day_a_rate_or_a_guard() {
    let file = file("rights");
    let section = client("modest", "daily_cap = 8\nrate_limit = 1\nburst = 100");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(BY_HAND).over(section).in_file(file.path()).start().await;
    let number = anybody().id_number;
    let ask = async |name: &str| {
        let headers = [("authorization", "Bearer idg_modest"), ("cache-control", "no-cache")];
        gateway.ask_with(&Pair::new(name, &number), &headers).await
    };
    for name in ["张一", "张二", "张三", "张四", "张五"] {
        assert_eq!(ask(name).await.status, 200);
    }
    assert_eq!(ask("张六").await.code(), "enumeration_suspected");
    let left = |reply: &crate::support::Reply| -> u32 {
        let state = reply.header("ratelimit").split(';').find_map(|part| part.strip_prefix("r="));
        state.unwrap().parse().unwrap()
    };
    gateway.rewrite(|toml| toml.replace("[clients.modest]", "[clients.modest]\nno_cache = false"));
    assert_eq!(gateway.reload().await.body["changed"], json!(["clients.modest"]));
    let refused = ask("张一").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"));
    assert!(left(&refused) < 96, "{refused:?}");
    gateway.rewrite(|toml| toml.replace("no_cache = false\n", ""));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(ask("张七").await.code(), "enumeration_suspected", "the guard goes on");
    assert_eq!(ask("张一").await.status, 200);
    let refused = ask("张一").await;
    assert_eq!((refused.code(), &refused.body["errors"][0]["reason"]), ("rate_limited", &json!("daily_cap")));
}

#[tokio::test]
async fn what_was_remembered_under_an_earlier_configuration_is_forgotten_as_well() {
    let file = file("forget");
    let before = client("one", "purposes = [\"default\", \"payout\"]") + "[purposes.payout]\norder = [\"yunyi\"]\n";
    let gateway =
        TestGateway::new().chain(&["aliyun"]).over(BY_HAND).over(before).over("[cache]\nsharing = \"per_client\"");
    let gateway = gateway.in_file(file.path()).start().await;
    let pair = anybody();
    let mut body = pair.body();
    body["purpose"] = json!("payout");
    let headers = [("authorization", "Bearer idg_one"), ("idempotency-key", "k-1")];
    assert_eq!(gateway.post(body.to_string(), &headers).await.verdict(), "match");
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "1s", "times": 1}"#);
    let under_way = gateway.ask_with(&pair, &[("authorization", "Bearer idg_one"), ("prefer", "wait=0")]).await;
    assert_eq!(under_way.code(), "outcome_unknown");
    // The client, its purpose and its cache policy are gone from the configuration, but its call continues.
    gateway.rewrite(|toml| {
        let toml = toml.replace("clients.one", "clients.two").replace("\"payout\"", "\"other\"");
        toml.replace("purposes.payout", "purposes.other").replace("per_client", "shared")
    });
    assert_eq!(gateway.reload().await.status, 200);
    let url = format!("http://{}/v1/subjects/forget", gateway.admin);
    let forget = async || {
        let request = gateway.http.post(&url).header("content-type", "application/json").body(pair.body().to_string());
        crate::support::Reply::of(request.send().await.unwrap()).await.body
    };
    let forgotten = json!({"verdicts": 1, "holds": 2, "tries": 1, "replays": 1, "under_way": 1});
    assert_eq!(forget().await, json!({ "forgotten": forgotten }));
    let nothing = json!({"forgotten": {"verdicts": 0, "holds": 0, "tries": 0, "replays": 0, "under_way": 0}});
    let ended = async {
        while forget().await != nothing {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the call ends, and leaves nothing");
}
