//! A restart pays for nothing again: a real process is asked, ended and started anew.

use serde_json::Value;

use super::ledger::{ask, configuration};
use super::{SandboxProcess, ServeProcess, TempFile, idgate, run, signal};
use crate::ledger::Folder;
use crate::support::{Reply, anybody, client, eventually};

/// The calls that the simulators of this process got.
async fn calls(sandbox: &SandboxProcess) -> u64 {
    let url = format!("http://{}/sandbox/aliyun/calls", sandbox.admin);
    Reply::of(client().get(url).send().await.unwrap()).await.body["calls"].as_u64().unwrap()
}

async fn status(sandbox: &SandboxProcess) -> Value {
    let url = format!("http://{}/v1/status", sandbox.admin);
    Reply::of(client().get(url).send().await.unwrap()).await.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_question_after_a_restart_is_one_bill() {
    for is_killed in [false, true] {
        let folder = Folder::new();
        let file = configuration("restart.toml", &folder);
        let start = || SandboxProcess::start(&["--config", file.path()], &[]);
        let mut before = start();
        let pair = anybody();
        let first = ask(&before, &pair).await;
        assert_eq!((first.source(), calls(&before).await), ("provider", 1), "{first:?}");
        if is_killed {
            before.child.kill().unwrap();
            before.child.wait().unwrap();
            drop(before);
        } else {
            before.terminate();
            assert_eq!(before.ended().0.code(), Some(0));
        }
        // At once, and again when the ledger has been read.
        let after = start();
        for _ in 0..2 {
            let again = ask(&after, &pair).await;
            assert_eq!((again.source(), calls(&after).await), ("cache", 0), "killed: {is_killed}: {again:?}");
            assert_eq!(again.verdict(), first.verdict());
            for member in ["provider", "provider_request_id", "verified_at"] {
                assert_eq!(again.body["provenance"][member], first.body["provenance"][member], "{member}");
            }
            assert_eq!(again.body["verified_at"], first.body["verified_at"]);
            assert!(again.header("age").parse::<u64>().is_ok(), "{again:?}");
            eventually("the ledger has been read", async || status(&after).await["restored"]["state"] == "done").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_before_the_ledger_has_been_read_is_looked_up_and_not_paid_for() {
    let folder = Folder::new();
    let path = folder.path().join("idgate.toml");
    let gateway = folder.gateway().chain(&["aliyun"]).in_file(&path).start().await;
    let pair = anybody();
    assert_eq!(gateway.ask(&pair).await.source(), "provider");
    gateway.begin_stop();
    // This command asks one question and never reads the ledger as a whole.
    let command = ["verify", &*pair.name, &*pair.id_number, "--config", path.to_str().unwrap()];
    let again = {
        let deadline = tokio::time::Instant::now() + super::PATIENCE;
        loop {
            let ran = run(&mut idgate(&command), "");
            if !ran.err.contains("has it open") {
                break ran;
            }
            assert!(tokio::time::Instant::now() < deadline, "the gateway does not end");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let reply: Value = serde_json::from_str(&again.out).unwrap_or_else(|_| panic!("{}{}", again.out, again.err));
    assert_eq!((&reply["provenance"]["source"], gateway.sandbox.calls("aliyun")), (&"cache".into(), 1), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_is_recorded_as_the_signals_and_an_isolation_survives_a_kill() {
    let folder = Folder::new();
    let toml = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_notice = \"0s\"\n\
                [providers.none]\ndriver = \"muzhiyun\"\nendpoints = [\"http://127.0.0.1:9\"]\n\
                app_code = { value = \"0123456789abcdef0123456789abcdef\" }\n[chain]\norder = [\"none\"]\n";
    let file = TempFile::new("hangup-recorded.toml", &format!("{toml}{}", folder.toml()));
    let mut before = ServeProcess::start(&["--config", file.path()]);
    let isolate = format!("http://{}/v1/providers/none/isolate", before.address("admin"));
    let reply = Reply::of(client().post(isolate).send().await.unwrap()).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-survives-restart")), (204, "true"));
    signal(&before.child, "HUP");
    let recorded = "operation reload reloaded signal";
    eventually("it is recorded", async || folder.in_short().await.iter().any(|entry| entry == recorded)).await;
    before.child.kill().unwrap();
    before.child.wait().unwrap();
    drop(before);
    let after = ServeProcess::start(&["--config", file.path()]);
    let url = format!("http://{}/v1/status", after.address("admin"));
    let status = Reply::of(client().get(url).send().await.unwrap()).await.body;
    let provider = &status["providers"][0];
    assert_eq!((&provider["isolated"], &provider["isolation"]["by"]), (&true.into(), &"local".into()), "{status}");
    signal(&after.child, "TERM");
    assert_eq!(after.ended().0.code(), Some(0));
    folder.assert_sound().await;
}
