//! The ledger of the built binary: after a kill, and with the `ledger` commands. `disk` tests disk failures.

use super::{SandboxProcess, TempFile, idgate, run};
use crate::ledger::Folder;
use crate::support::{Reply, anybody, client, eventually};

/// A sandbox configuration whose ledger is in `folder`.
pub(super) fn configuration(name: &str, folder: &Folder) -> TempFile {
    TempFile::new(name, &format!("{}[providers.aliyun]\nrate_limit = 100000\n", folder.toml()))
}

pub(super) async fn look_up(sandbox: &SandboxProcess, query: &str) -> Reply {
    let url = format!("http://{}/v1/verifications{query}", sandbox.admin);
    Reply::of(client().get(url).send().await.unwrap()).await
}

pub(super) async fn ask(sandbox: &SandboxProcess, pair: &crate::support::Pair) -> Reply {
    let url = format!("http://{}/v1/verify", sandbox.public);
    let request = client().post(url).header("content-type", "application/json").body(pair.body().to_string());
    Reply::of(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_is_killed_in_flight_is_outcome_unknown_after_the_restart() {
    let folder = Folder::new();
    let file = configuration("ledger-killed.toml", &folder);
    let mut sandbox = SandboxProcess::start(&["--config", file.path()], &[]);
    let fault = format!("http://{}/sandbox/aliyun/fault", sandbox.admin);
    assert_eq!(client().put(fault).body(r#"{"kind": "hang"}"#).send().await.unwrap().status(), 204);
    let mut body = anybody().body();
    body["reference"] = "killed-1".into();
    let url = format!("http://{}/v1/verify", sandbox.public);
    let request = client().post(url).header("content-type", "application/json").body(body.to_string());
    let asking = tokio::spawn(request.send());
    // Then it is in the journal: a slot is taken earlier.
    let calls = format!("http://{}/sandbox/aliyun/calls", sandbox.admin);
    eventually("the call arrives", async || {
        Reply::of(client().get(&calls).send().await.unwrap()).await.body["calls"] == 1
    })
    .await;
    sandbox.child.kill().unwrap();
    assert!(asking.await.unwrap().is_err());
    drop(sandbox);
    let again = SandboxProcess::start(&["--config", file.path()], &[]);
    let found = look_up(&again, "?reference=killed-1").await;
    let one = &found.body["verifications"][0];
    assert_eq!(
        (&one["code"], &one["attempts"][0]["billed"]),
        (&"outcome_unknown".into(), &"unknown".into()),
        "{found:?}"
    );
    let id = one["verification_id"].as_str().unwrap();
    let by_id = look_up(&again, &format!("/{id}")).await;
    assert_eq!(by_id.body["calls"][0]["outcome"], "interrupted");
    again.terminate();
    assert_eq!(again.ended().0.code(), Some(0));
    folder.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_check_and_export() {
    let folder = Folder::new();
    let gateway = folder.gateway().start().await;
    for _ in 0..3 {
        gateway.ask(&anybody()).await;
    }
    let file = folder.file();
    // `verify` works while the gateway is running.
    let sound = run(&mut idgate(&["ledger", "verify", "--file", &file]), "");
    assert_eq!(sound.code, Some(0), "{}", sound.err);
    assert!(sound.out.starts_with("sound: 6 entries"), "{}", sound.out);
    let kept = sound.out.lines().nth(1).unwrap().rsplit(' ').next().unwrap().to_owned();
    assert!(gateway.stop().await);
    let csv = run(&mut idgate(&["ledger", "export", "--format", "csv", "--file", &file]), "");
    assert_eq!(csv.out.lines().count(), 7, "{}", csv.out);
    assert!(csv.out.starts_with("number,kind,id,at,") && csv.err.is_empty(), "{}{}", csv.out, csv.err);
    let none = run(&mut idgate(&["ledger", "export", "--to", "2026-01-01T00:00:00Z", "--file", &file]), "");
    assert!(none.out.is_empty() && none.code == Some(0));
    // A spool left by a killed process.
    let spool = folder.path().join("ledger.spool");
    std::fs::write(&spool, "# 7\n{}\n").unwrap();
    let left = run(&mut idgate(&["ledger", "verify", "--file", &file]), "");
    assert!(left.code == Some(0) && left.err.contains("the latest entries are still in"), "{}{}", left.out, left.err);
    std::fs::write(&spool, "").unwrap();
    let mut other = crate::ledger::connection(&folder).await;
    let change = "UPDATE entries SET body = replace(body, '\"billed\":\"yes\"', '\"billed\":\"no\"') WHERE seq = 3";
    sqlx::raw_sql(change).execute(&mut other).await.unwrap();
    let changed = run(&mut idgate(&["ledger", "verify", "--file", &file]), "");
    assert_eq!(changed.code, Some(1));
    assert!(changed.out.starts_with("NOT sound: entry number 3 was changed"), "{}", changed.out);
    let back = "UPDATE entries SET body = replace(body, '\"billed\":\"no\"', '\"billed\":\"yes\"') WHERE seq = 3";
    sqlx::raw_sql(back).execute(&mut other).await.unwrap();
    assert_eq!(run(&mut idgate(&["ledger", "verify", "--expect", &kept, "--file", &file]), "").code, Some(0));
    sqlx::raw_sql("DELETE FROM entries WHERE seq = 6").execute(&mut other).await.unwrap();
    let cut = run(&mut idgate(&["ledger", "verify", "--expect", &kept, "--file", &file]), "");
    assert!(cut.code == Some(1) && cut.out.contains("entry number 6 is not there"), "{}", cut.out);
    let missing = run(&mut idgate(&["ledger", "verify", "--file", "/nonexistent/ledger.db"]), "");
    assert!(missing.code == Some(1) && missing.err.contains("it cannot be opened"), "{}", missing.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_removal_does_not_pass_the_command_with_an_expected_seal_either() {
    let folder = Folder::new();
    let gateway = folder.gateway().start().await;
    for _ in 0..3 {
        gateway.ask(&anybody()).await;
    }
    assert!(gateway.stop().await);
    let file = folder.file();
    let sound = run(&mut idgate(&["ledger", "verify", "--file", &file]), "");
    let kept = sound.out.lines().nth(1).unwrap().rsplit(' ').next().unwrap().to_owned();
    let confirmed = run(&mut idgate(&["ledger", "confirm-time", "--file", &file]), "");
    assert!(confirmed.code == Some(0) && confirmed.out.contains("confirm"), "{}{}", confirmed.out, confirmed.err);
    let forge = "CREATE TABLE IF NOT EXISTS removed (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT; \
                 INSERT INTO removed SELECT seq, hash FROM entries WHERE seq = 4; DELETE FROM entries WHERE seq <= 4";
    sqlx::raw_sql(forge).execute(&mut crate::ledger::connection(&folder).await).await.unwrap();
    for expect in [&["--expect", &*kept][..], &[]] {
        let forged = run(&mut idgate(&[&["ledger", "verify", "--file", &*file], expect].concat()), "");
        assert_eq!(forged.code, Some(1), "{}{}", forged.out, forged.err);
        assert!(
            forged.out.starts_with("NOT sound: entries are missing between number 0 and number 5"),
            "{}",
            forged.out
        );
    }
}

/// Issue 13, line 18: a spreadsheet ran a client's `reference` as a formula.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_that_begins_like_a_formula_is_text_in_the_csv_export() {
    let folder = Folder::new();
    let gateway = folder.gateway().start().await;
    let references = ["=HYPERLINK(\"http://x\")", "+1", "-1", "@SUM(A1)", "\"=1+1", "x;=1+1", "order-1"];
    for reference in references {
        let mut body = anybody().body();
        body["reference"] = reference.into();
        assert_eq!(gateway.post(body.to_string(), &[]).await.verdict(), "match", "{reference}");
    }
    assert!(gateway.stop().await);
    let export =
        |format: &str| run(&mut idgate(&["ledger", "export", "--format", format, "--file", &folder.file()]), "").out;
    let csv = export("csv");
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let cells: Vec<_> =
        rows.records().flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()).collect();
    for reference in &references[..6] {
        assert!(!cells.iter().any(|cell| cell == reference), "{reference}: {csv}");
    }
    for shown in ["'=HYPERLINK(\"http://x\")", "'+1", "'-1", "'@SUM(A1)", "\"'=1+1", "x;'=1+1", "order-1"] {
        assert!(cells.iter().any(|cell| cell == shown), "{shown}: {csv}");
    }
    assert!(cells.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@'])), "{csv}");
    assert!(export("jsonl").contains(r#""reference":"+1""#), "what is sealed stays as it is");
}

/// Issue 13, line 33: `idgate verify` failed on the ledger's lock and did not say what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_works_beside_a_running_gateway_or_says_what_to_do() {
    let folder = Folder::new();
    let gateway = folder.gateway().start().await;
    assert_eq!(gateway.ask(&anybody()).await.status, 200);
    let file = folder.file();
    for command in ["verify", "export", "confirm-time"] {
        let done = run(&mut idgate(&["ledger", command, "--file", &file]), "");
        assert_eq!(done.code, Some(0), "{command}: {}{}", done.out, done.err);
    }
    let usage = TempFile::new("beside.csv", "request_id,time\n1,2026-11-28T00:00:00+08:00\n");
    let reconciled = run(&mut idgate(&["reconcile", "--provider", "aliyun", usage.path(), "--file", &file]), "");
    assert_eq!(reconciled.code, Some(1), "one row is not ours: {}{}", reconciled.out, reconciled.err);
    let provider = "[providers.none]\ndriver = \"muzhiyun\"\nendpoints = [\"http://127.0.0.1:9\"]\n\
                    app_code = { value = \"0123456789abcdef0123456789abcdef\" }\n[chain]\norder = [\"none\"]\n";
    let listen = "[server]\nlisten = \"127.0.0.1:8123\"\nadmin_listen = \"127.0.0.1:0\"\n";
    let config = TempFile::new("beside.toml", &format!("{listen}{}{provider}", folder.toml()));
    let pair = anybody();
    let verify =
        run(&mut idgate(&["verify", "-", "--config", config.path()]), &format!("{}\n{}\n", pair.name, pair.id_number));
    assert_eq!(verify.code, Some(1), "{}", verify.out);
    let how = "curl -s http://127.0.0.1:8123/v1/verify -H 'Content-Type: application/json' -d '{\"name\":\"NAME\"";
    assert!(verify.err.contains("ask that one") && verify.err.contains(how), "{}", verify.err);
    let second = run(&mut idgate(&["serve", "--config", config.path()]), "");
    assert!(second.code == Some(1) && second.err.contains("stop that one, or name another"), "{}", second.err);
    assert!(gateway.stop().await);
}

/// Issue 13, line 3: nothing answered probes until the ledger was read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_answered_while_the_ledger_is_opened() {
    let folder = Folder::new();
    folder.gateway().start().await.stop().await;
    let mut other = crate::ledger::connection(&folder).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (started, asked) = start_and_probe(&folder, "probes-locked.toml").await;
    assert_eq!(asked, [(200, "live".to_owned()), (503, "starting".to_owned()), (503, "starting".to_owned())]);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    eventually("it is ready", async || probe(started.admin, "/readyz").await == Some((200, "ready".to_owned()))).await;
    started.ends().await;
    // A disk that hangs: the journal is a pipe that nobody writes to.
    let journal = folder.path().join("ledger.begun");
    std::fs::remove_file(&journal).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &journal, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (started, asked) = start_and_probe(&folder, "probes-hang.toml").await;
    assert_eq!(asked, [(200, "live".to_owned()), (503, "starting".to_owned()), (503, "starting".to_owned())]);
    started.ends().await;
}

struct Started {
    child: std::process::Child,
    admin: std::net::SocketAddr,
    _config: TempFile,
}

impl Started {
    async fn ends(mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(std::process::Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
        let began = std::time::Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < super::PATIENCE, "SIGTERM does not end it");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a gateway and returns what it answers to probes as soon as it answers anything.
async fn start_and_probe(folder: &Folder, name: &str) -> (Started, [(u16, String); 3]) {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (public, admin) = (free(), free());
    let config = format!(
        "[server]\nlisten = \"{public}\"\nadmin_listen = \"{admin}\"\ndrain_notice = \"0s\"\n{}[providers.none]\n\
         driver = \"muzhiyun\"\nendpoints = [\"http://127.0.0.1:9\"]\n\
         app_code = {{ value = \"0123456789abcdef0123456789abcdef\" }}\n[chain]\norder = [\"none\"]\n",
        folder.toml()
    );
    let config = TempFile::new(name, &config);
    let mut command = idgate(&["serve", "--config", config.path()]);
    let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let started = Started { child, admin, _config: config };
    eventually("it answers", async || probe(admin, "/livez").await.is_some()).await;
    let mut asked = Vec::new();
    for path in ["/livez", "/readyz", "/v1/status"] {
        asked.push(probe(admin, path).await.unwrap());
    }
    (started, asked.try_into().unwrap())
}

/// The status and the word of a probe; `None` if nothing answers.
async fn probe(admin: std::net::SocketAddr, path: &str) -> Option<(u16, String)> {
    let reply = Reply::of(client().get(format!("http://{admin}{path}")).send().await.ok()?).await;
    Some((reply.status.as_u16(), reply.body["status"].as_str().unwrap_or_default().to_owned()))
}

/// Issue 13, line 30.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_one_ledger_through_a_link_does_not_start() {
    let folder = Folder::new();
    let file = configuration("ledger-first.toml", &folder);
    let first = SandboxProcess::start(&["--config", file.path()], &[]);
    assert_eq!(ask(&first, &anybody()).await.status, 200);
    let link = folder.path().join("other.db");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    let linked = file.text().replace(&folder.file(), link.to_str().unwrap());
    let linked = TempFile::new("ledger-second.toml", &linked);
    let free = ["sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--config", linked.path()];
    let mut second = idgate(&free).spawn().unwrap();
    let began = std::time::Instant::now();
    while second.try_wait().unwrap().is_none() && began.elapsed() < super::PATIENCE / 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let _ = second.kill();
    let ended = second.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && told.contains("is in use by another idgate"), "{}: {told}", ended.status);
    first.terminate();
    assert_eq!(first.ended().0.code(), Some(0));
    folder.assert_sound().await;
}

/// Issue 13, line 30: everything told since would be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_moved_under_a_running_process_refuses_paid_calls_until_it_is_back() {
    let folder = Folder::new();
    let file = configuration("ledger-moved.toml", &folder);
    let sandbox = SandboxProcess::start(&["--config", file.path()], &[]);
    let known = anybody();
    assert_eq!(ask(&sandbox, &known).await.status, 200);
    let away = folder.path().join("away.db");
    std::fs::rename(folder.file(), &away).unwrap();
    let status = async || {
        let url = format!("http://{}/v1/status", sandbox.admin);
        Reply::of(client().get(url).send().await.unwrap()).await.body["ledger"].clone()
    };
    eventually("it is noticed", async || status().await["unavailable_reason"] == "files_moved").await;
    let refused = ask(&sandbox, &anybody()).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "ledger_unavailable"), "{refused:?}");
    assert_eq!(ask(&sandbox, &known).await.source(), "cache");
    std::fs::rename(&away, folder.file()).unwrap();
    eventually("it is back", async || status().await["available"] == true).await;
    assert_eq!(ask(&sandbox, &anybody()).await.status, 200);
    sandbox.terminate();
    let (status, _, err) = sandbox.ended();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.contains("was moved, deleted or replaced") && err.contains("back where they were"), "{err}");
    folder.assert_sound().await;
}

#[test]
fn a_ledger_wants_a_digest_key_that_stays() {
    let toml = "[ledger]\nfile = \"/tmp/none.db\"\nkeep = \"3 months\"\n";
    let told = idgate::app::config::Sources::text(toml).load().unwrap_err().0;
    for key in ["cache.digest_key", "ledger.keep"] {
        assert!(told.iter().any(|mistake| mistake.key == key), "{key}: {told:?}");
    }
}
