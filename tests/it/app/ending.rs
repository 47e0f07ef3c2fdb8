//! How a person ends idgate: a closed terminal, an impatient second Ctrl-C, a call that does not end.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{SandboxProcess, ServeProcess, TempFile, says, signal};
use crate::support::{client, person};

#[test]
fn closing_the_terminal_ends_the_sandbox() {
    let sandbox = SandboxProcess::start(&[], &[]);
    signal(&sandbox.child, "HUP");
    let (status, _, err) = sandbox.ended();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.contains("nothing was cut"), "{err}");
}

#[test]
fn a_second_stop_signal_ends_a_drain_at_once() {
    for (first, second) in [("INT", "INT"), ("TERM", "TERM"), ("TERM", "INT")] {
        let sandbox = SandboxProcess::start(&[], &[("IDGATE__SERVER__DRAIN_NOTICE", "10m")]);
        signal(&sandbox.child, first);
        says(&sandbox.err, "draining");
        signal(&sandbox.child, second);
        let (status, _, err) = sandbox.ended();
        assert_eq!(status.code(), Some(1), "{first} {second}: {err}");
        assert!(err.contains("stopped at once by a second signal"), "{err}");
    }
    let config = TempFile::new(
        "impatient.toml",
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_notice = \"10m\"\n\
         [providers.none]\ndriver = \"muzhiyun\"\nendpoints = [\"http://127.0.0.1:9\"]\n\
         app_code = { value = \"0123456789abcdef0123456789abcdef\" }\n[chain]\norder = [\"none\"]\n",
    );
    let serving = ServeProcess::start(&["--config", config.path()]);
    signal(&serving.child, "TERM");
    serving.says("draining");
    signal(&serving.child, "TERM");
    let (status, err) = serving.ended();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("stopped at once by a second signal"), "{err}");
}

#[tokio::test]
async fn a_call_that_was_cut_is_not_told_as_lost_and_the_next_start_records_it() {
    let folder = tempfile_folder();
    let config = TempFile::new(
        "cut.toml",
        &format!(
            "[ledger]\nfile = {:?}\n[cache]\ndigest_key = {{ value = \"0123456789abcdef0123456789abcdef\" }}\n\
             [server]\ndrain_timeout = \"1s\"\n",
            folder.0.join("ledger.db").display().to_string()
        ),
    );
    let start = || SandboxProcess::start(&["--config", config.path()], &[]);
    let sandbox = start();
    let http = client();
    let url = format!("http://{}/sandbox/aliyun/fault", sandbox.admin);
    http.put(url).body(r#"{"kind": "hang"}"#).send().await.unwrap();
    let ask = http.post(format!("http://{}/v1/verify", sandbox.public)).header("content-type", "application/json");
    let waiting = tokio::spawn(ask.body(person(1).body().to_string()).send());
    let status = format!("http://{}/v1/status", sandbox.admin);
    let began = std::time::Instant::now();
    while !http.get(&status).send().await.unwrap().text().await.unwrap().contains("\"flights\":1") {
        assert!(began.elapsed() < super::PATIENCE, "the call does not begin");
    }
    sandbox.terminate();
    assert_eq!(waiting.await.unwrap().expect("told, and not cut").status(), 503);
    let (status, _, err) = sandbox.ended();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("may have been billed") && !err.contains("entries are lost"), "{err}");
    let sandbox = start();
    sandbox.terminate();
    let (_, _, err) = sandbox.ended();
    assert!(err.contains("it is written down"), "{err}");
}

#[tokio::test]
async fn a_quiet_sandbox_writes_no_line_about_requests() {
    let sandbox = SandboxProcess::start(&["--quiet"], &[]);
    let ask = client().post(format!("http://{}/v1/verify", sandbox.public)).header("content-type", "application/json");
    assert_eq!(ask.body(person(1).body().to_string()).send().await.unwrap().status(), 200);
    sandbox.terminate();
    let (status, out, err) = sandbox.ended();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(out.contains("--quiet") && !out.contains("\"kind\":\"request\""), "{out}");
}

#[test]
fn a_sandbox_of_a_test_leaves_no_folder_behind() {
    let folder = tempfile_folder();
    let place = folder.0.display().to_string();
    for is_awaited in [true, false] {
        let sandbox = SandboxProcess::start(&[], &[("TMPDIR", &place)]);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "it keeps its ledger here");
        if is_awaited {
            sandbox.terminate();
            sandbox.ended();
        } else {
            drop(sandbox);
        }
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn the_walk_through_the_sandbox_can_be_done_at_a_human_pace() {
    let sandbox = SandboxProcess::start(&[], &[]);
    let http = client();
    let fault = http.put(format!("http://{}/sandbox/aliyun/fault", sandbox.admin));
    fault.body(r#"{"kind": "status", "status": 500}"#).send().await.unwrap();
    for n in 0..5 {
        let ask = http.post(format!("http://{}/v1/verify", sandbox.public)).header("content-type", "application/json");
        assert_eq!(ask.body(person(n).body().to_string()).send().await.unwrap().status(), 200);
    }
    let status = http.get(format!("http://{}/v1/status", sandbox.admin)).send().await.unwrap().text().await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let endpoint = &status["providers"][0]["endpoints"][0];
    assert_eq!(endpoint["breaker"], "open");
    assert!(endpoint["retry_after_seconds"].as_f64().unwrap() > 30.0, "time to read and type: {endpoint}");
}

struct Folder(std::path::PathBuf);

fn tempfile_folder() -> Folder {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("ending-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).unwrap();
    Folder(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
