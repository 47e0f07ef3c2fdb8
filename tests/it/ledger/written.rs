//! What is written to the ledger, when, and what is never written.

use idgate::storage::ledger::Entry;

use super::{Folder, connection, eventually, get_as_operator};
use crate::support::{Pair, Reply, anybody, person};

#[tokio::test]
async fn a_paid_verdict_is_on_the_disk_when_it_is_told_with_its_call_and_its_price() {
    let folder = Folder::new();
    let gateway = folder.gateway().chain(&["aliyun"]).start().await;
    for _ in 0..20 {
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(reply.source(), "provider");
        let entries = folder.entries().await;
        let [.., Entry::Call(call), Entry::Answer(answer)] = &entries[..] else { panic!("{entries:#?}") };
        assert_eq!(answer.id.to_string(), reply.body["verification_id"]);
        assert_eq!((&*answer.outcome, answer.flight), ("match", Some(call.flight)));
        assert_eq!(answer.provider_request_id, call.end.provider_request_id);
        assert!(call.end.billed == "yes" && call.end.price_micro_yuan > 0 && !call.end.late, "{call:?}");
        assert_eq!(Some(&call.subject), answer.subject.as_ref());
        assert!(call.subject.key.len() == 8 && call.subject.digest.len() == 64 && answer.configuration.len() == 12);
    }
    assert!(gateway.stop().await);
    folder.assert_sound().await;
}

#[tokio::test]
async fn nobody_else_may_read_a_file_of_the_ledger() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let gateway = folder.gateway().chain(&["aliyun"]).start().await;
    assert_eq!(gateway.ask(&anybody()).await.source(), "provider");
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    let ours = files.filter(|file| file.file_name().to_string_lossy().starts_with("ledger."));
    let modes: Vec<_> =
        ours.map(|file| (file.file_name(), file.metadata().unwrap().permissions().mode() & 0o777)).collect();
    let of = |end: &str| modes.iter().any(|(name, _)| name.to_string_lossy().ends_with(end));
    assert!([".db", ".db-wal", ".db-shm", ".lock", ".begun", ".spool"].into_iter().all(of), "{modes:?}");
    assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}

#[tokio::test]
async fn memory_hits_refusals_and_failures_are_written_and_replays_are_not_written_again() {
    let folder = Folder::new();
    let gateway = folder.gateway().chain(&["aliyun"]).over("[purposes.default]\non_unknown = \"stop\"").start().await;
    let pair = anybody();
    let key = [("idempotency-key", "k-1")];
    assert_eq!(gateway.ask_with(&pair, &key).await.source(), "provider");
    assert_eq!(gateway.ask_with(&pair, &key).await.header("idempotency-replayed"), "true");
    assert_eq!(gateway.ask(&pair).await.source(), "cache");
    assert_eq!(gateway.ask(&Pair::new("张三", "110105194912310021")).await.code(), "invalid_id_number");
    assert_eq!(gateway.post("{", &[]).await.code(), "malformed_request");
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "input_refused", "times": 1}"#);
    assert_eq!(gateway.ask(&anybody()).await.code(), "rejected_by_provider");
    assert!(gateway.stop().await);
    let all = [
        "claim claimed",
        "call verdict yes 1000000",
        "answer match provider",
        "answer match cache",
        "answer invalid_id_number ",
        "call input_refused no 0",
        "answer rejected_by_provider ",
    ];
    let prices =
        |line: String| line.split_once("yes ").map_or(line.clone(), |(start, _)| format!("{start}yes 1000000"));
    assert_eq!(folder.in_short().await.into_iter().map(prices).collect::<Vec<_>>(), all);
}

#[tokio::test]
async fn what_was_paid_is_written_though_its_caller_has_left_and_its_attempt_was_given_up() {
    let folder = Folder::new();
    let gateway = folder
        .gateway()
        .chain(&["aliyun"])
        .over("[providers.aliyun]\nconnect_timeout = \"100ms\"\nattempt_timeout = \"100ms\"\ncall_limit = \"5s\"")
        .start()
        .await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "400ms"}"#);
    let pair = anybody();
    let url = format!("http://{}/v1/verify", gateway.public);
    let asking = tokio::spawn(gateway.http.post(url).json_body(&pair).send());
    eventually("the call arrives", async || gateway.sandbox.calls("aliyun") == 1).await;
    asking.abort();
    assert!(asking.await.is_err(), "the caller has left");
    let here = gateway.ask_with(&anybody(), &[("prefer", "wait=0")]).await;
    assert_eq!(here.code(), "outcome_unknown");
    let id = here.body["verification_id"].as_str().unwrap_or_else(|| panic!("it cannot be looked up: {here:?}"));
    let path = format!("http://{}/v1/verifications/{id}", gateway.public);
    eventually("the question is found by the id that its problem names", async || {
        let found = Reply::of(gateway.http.get(&path).send().await.expect("the gateway answers")).await;
        found.body["code"] == "outcome_unknown" && found.body["verification_id"] == id
    })
    .await;
    assert!(gateway.stop().await);
    let mut all = folder.in_short().await;
    all.sort();
    assert!(all[0] == "answer outcome_unknown " && all[1] == all[0], "{all:?}");
    assert!(all[2].starts_with("call verdict yes") && all[2].ends_with("late") && all.len() == 4, "{all:?}");
    // Both answers name their flight, so that an operator who looks one up finds what it cost.
    let (mut answers, mut calls) = (Vec::new(), Vec::new());
    for entry in folder.entries().await {
        match entry {
            Entry::Answer(answer) => answers.push(answer.flight.unwrap()),
            Entry::Call(call) => calls.push(call.flight),
            Entry::Claim(_) | Entry::Forgotten(_) | Entry::Removed(_) | Entry::Operation(_) => {}
        }
    }
    answers.sort();
    calls.sort();
    assert_eq!(answers, calls);
}

trait JsonBody {
    fn json_body(self, pair: &Pair) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, pair: &Pair) -> Self {
        self.header("content-type", "application/json").body(pair.body().to_string())
    }
}

#[tokio::test]
async fn no_name_and_no_number_is_in_any_of_its_files_nor_in_an_export() {
    let folder = Folder::new();
    let gateway = folder
        .gateway()
        .over("[providers.aliyun]\nconnect_timeout = \"200ms\"\nattempt_timeout = \"200ms\"\ncall_limit = \"600ms\"")
        .start()
        .await;
    let name = "龘靐齉";
    let canary = |n: u64| Pair::new(name, &person(600_000 + n).id_number);
    let mut bytes = Vec::new();
    let mut locked = None;
    for (n, fault) in ["", "hang", "garbage", "empty", "reset", "redirect", ""].into_iter().enumerate() {
        match fault {
            "" => gateway.mend("aliyun"),
            kind => gateway.fault("aliyun", &format!("{{\"kind\": \"{kind}\"}}")),
        }
        if n == 6 {
            // From here on entries go to the spool.
            let mut other = connection(&folder).await;
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
            locked = Some(other);
        }
        let pair = canary(n as u64);
        let mut body = pair.body();
        body["reference"] = format!("r-{n}").into();
        assert_eq!(gateway.post(body.to_string(), &[]).await.verdict(), "match");
        let number = &pair.id_number;
        for body in [
            format!("{{\"name\": \"{name}\", \"id_number\": \"{number}9\"}}"),
            format!("{{\"name\": \"{number}\", \"id_number\": \"{number}\"}}"),
            format!("{{\"name\": \"{name}\", \"id_number\": \"{number}\", \"purpose\": \"{number}\"}}"),
            format!("{{\"name\": \"{name}\", \"id_number\": \"{number}\", \"reference\": \"{number}\"}}"),
        ] {
            assert!(gateway.post(body, &[("idempotency-key", number)]).await.status.is_client_error());
        }
        bytes.extend(all_files(&folder));
    }
    assert!(!folder.spooled().is_empty());
    drop(locked);
    assert!(gateway.stop().await);
    bytes.extend(all_files(&folder));
    for format in ["jsonl", "csv"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_idgate"));
        let exported =
            command.args(["ledger", "export", "--format", format, "--file", &folder.file()]).output().unwrap();
        assert!(
            exported.status.success() && exported.stdout.len() > 1000 && exported.stderr.is_empty(),
            "{exported:?}"
        );
        bytes.extend(exported.stdout);
    }
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("outcome_unknown") || holds("verdict"), "what is there would be found");
    assert!(!holds(name), "a name");
    for n in 0..7 {
        let number = canary(n).id_number;
        assert!(!holds(&number) && !holds(&number[6..17]), "a number: {number}");
    }
}

fn all_files(folder: &Folder) -> Vec<u8> {
    let files = std::fs::read_dir(folder.path()).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn a_ledger_is_found_again_after_a_restart() {
    let folder = Folder::new();
    let gateway = folder.gateway().start().await;
    let id = gateway.ask(&anybody()).await.body["verification_id"].as_str().unwrap().to_owned();
    assert!(gateway.stop().await);
    let again = folder.gateway().start().await;
    let found = get_as_operator(&again, &format!("/v1/verifications/{id}")).await;
    assert_eq!(found.body["verdict"], "match", "{found:?}");
    again.ask(&anybody()).await;
    // The look-up is one, too.
    eventually("entries are counted", async || again.metric("idgate_ledger_entries_total", &[]).await == 3.0).await;
    assert!(again.stop().await);
    folder.assert_sound().await;
}
