//! The ledger of the built binary when its disk fails: full by a limit, really full, read-only.
//!
//! Each test checks that every answer given is in the ledger afterwards, that no provider is called while nothing can
//! be written (cached answers are still served), and that the gateway recovers without intervention.

use std::process::{Command, Stdio};

use super::ledger::{ask, configuration, look_up};
use super::{SandboxProcess, TempFile};
use crate::ledger::Folder;
use crate::support::{Pair, Reply, anybody, client, eventually};

const FREE: [&str; 5] = ["sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// A sandbox with a failing disk, and the verification ids its callers received.
struct Patient {
    sandbox: SandboxProcess,
    folder: Folder,
    known: Pair,
    told: Vec<String>,
    _file: TempFile,
}

impl Patient {
    /// Starts the sandbox by `command`, which must run the binary with the arguments appended to it.
    async fn start(name: &str, folder: Folder, mut command: Command) -> Self {
        let file = configuration(name, &folder);
        command.args(FREE).args(["--config", file.path()]);
        command.env_clear().env("IDGATE__LOG__FILE", "/dev/null").env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        let mut patient =
            Self { sandbox: SandboxProcess::of(&mut command), folder, known: anybody(), told: Vec::new(), _file: file };
        let known = patient.known.clone();
        patient.note(&ask(&patient.sandbox, &known).await);
        patient
    }

    fn pid(&self) -> String {
        self.sandbox.child.id().to_string()
    }

    fn note(&mut self, reply: &Reply) {
        self.told.push(reply.body["verification_id"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned());
    }

    /// Asks about a new person each time until a request is refused.
    async fn ask_until_refused(&mut self) -> Reply {
        loop {
            let reply = ask(&self.sandbox, &anybody()).await;
            if reply.status != 200 {
                return reply;
            }
            self.note(&reply);
            assert!(self.told.len() < 20_000, "the disk is never full");
        }
    }

    /// Checks that no provider is called for people who are refused, and that cached answers are still served. The database
    /// may give back room for an entry; what is answered then must be there later, as all that is told.
    async fn assert_that_nothing_new_is_paid(&mut self) {
        let mut refusals = 0;
        while refusals < 10 {
            let before = self.calls().await;
            let reply = ask(&self.sandbox, &anybody()).await;
            if reply.status == 200 {
                self.note(&reply);
                assert!(self.told.len() < 20_000, "the disk is never full");
                continue;
            }
            assert_eq!((reply.status.as_u16(), reply.code()), (503, "ledger_unavailable"), "{reply:?}");
            assert_eq!(reply.body["may_have_been_billed"], false);
            assert_eq!(self.calls().await, before, "nobody was called");
            assert_eq!(ask(&self.sandbox, &self.known).await.source(), "cache");
            refusals += 1;
        }
    }

    async fn goes_on_by_itself(&mut self) {
        let sandbox = &self.sandbox;
        eventually("it goes on by itself", async || ask(sandbox, &anybody()).await.status == 200).await;
    }

    async fn calls(&self) -> String {
        let url = format!("http://{}/sandbox/aliyun/calls", self.sandbox.admin);
        Reply::of(client().get(url).send().await.unwrap()).await.body.to_string()
    }

    /// Stops the sandbox and checks that the ledger is intact and has every answer given. Returns its standard error.
    async fn ended(self) -> String {
        self.sandbox.terminate();
        let (status, _, err) = self.sandbox.ended();
        assert_eq!(status.code(), Some(0), "{err}");
        let kept = format!("{:?}", self.folder.entries().await);
        let missing: Vec<_> = self.told.iter().filter(|id| !kept.contains(*id)).collect();
        assert!(missing.is_empty(), "of {} told: {missing:?}", self.told.len());
        self.folder.assert_sound().await;
        err
    }
}

/// Issue 13, line 27: 2,153 entries were lost at SIGTERM, with exit code 0 and the words "nothing was cut".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_disk_takes_at_the_end_is_said_and_counted_and_in_the_exit_code() {
    // The shell's blocks have 512 bytes. SIGXFSZ is ignored, because a full disk sends no signal.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_idgate")]);
    let mut patient = Patient::start("ledger-lost.toml", Folder::new(), command).await;
    assert_eq!(patient.ask_until_refused().await.code(), "ledger_unavailable");
    for _ in 0..20 {
        assert_eq!(ask(&patient.sandbox, &patient.known).await.source(), "cache");
    }
    patient.sandbox.terminate();
    let (status, _, err) = patient.sandbox.ended();
    assert_eq!(status.code(), Some(3), "{err}");
    let said = err.lines().find(|line| line.contains("could be written nowhere; the ledger lacks them"));
    let lost = said.and_then(|line| line.split("answer ").nth(1)).unwrap_or_else(|| panic!("{err}"));
    let lost: usize = lost.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    assert!(lost >= 20, "{err}");
    assert!(!err.contains("nothing was cut"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs prlimit"]
async fn at_the_limit_of_a_files_size_nothing_new_is_paid_memory_goes_on_and_room_ends_it() {
    // Limits the file size of this process. SIGXFSZ is ignored, because a full disk sends no signal.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", "prlimit", "--fsize=262144:", env!("CARGO_BIN_EXE_idgate")]);
    let mut patient = Patient::start("ledger-limit.toml", Folder::new(), command).await;
    assert_eq!(patient.ask_until_refused().await.code(), "ledger_unavailable");
    patient.assert_that_nothing_new_is_paid().await;
    let mended = Command::new("prlimit").args(["--fsize=unlimited:", "--pid", &patient.pid()]).status();
    assert!(mended.unwrap().success());
    patient.goes_on_by_itself().await;
    let said = patient.ended().await;
    assert!(said.contains("paid calls are refused") && said.contains("the disk is full or failing"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the right to mount"]
async fn on_a_full_disk_nothing_new_is_paid_memory_goes_on_and_room_ends_it() {
    // A disk of 1 MiB in a mount namespace of this process.
    let folder = Folder::new();
    let place = folder.path().display().to_string();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=1m idgate \"$0\" && exec \"$@\"";
    command.args(["-m", "/bin/sh", "-c", script, &place, env!("CARGO_BIN_EXE_idgate")]);
    let mut patient = Patient::start("ledger-full.toml", folder, command).await;
    assert_eq!(patient.ask_until_refused().await.code(), "ledger_unavailable");
    patient.assert_that_nothing_new_is_paid().await;
    let more = ["-t", &patient.pid(), "-m", "mount", "-o", "remount,size=64m", &place];
    assert!(Command::new("nsenter").args(more).status().unwrap().success());
    patient.goes_on_by_itself().await;
    // The mount ends with the process, so the ledger is checked before.
    for id in &patient.told {
        let found = look_up(&patient.sandbox, &format!("/{id}")).await;
        assert!(found.body["verdict"].is_string(), "{id}: {found:?}");
    }
    let verify = [env!("CARGO_BIN_EXE_idgate"), "ledger", "verify", "--file", &patient.folder.file()];
    let sound =
        super::run(Command::new("nsenter").args(["-t", &patient.pid(), "-m"]).args(verify).stdout(Stdio::piped()), "");
    assert_eq!(sound.code, Some(0), "{}{}", sound.out, sound.err);
    patient.sandbox.terminate();
    let (status, _, err) = patient.sandbox.ended();
    assert!(status.code() == Some(0) && err.contains("the disk is full or failing"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chattr +i"]
async fn a_spool_or_a_database_that_turns_read_only_costs_nobody_an_answer_and_both_cost_nobody_money() {
    // The immutable attribute also affects files that are open, like a disk that the system has remounted read-only.
    let folder = Folder::new();
    let place = folder.path().clone();
    let names = |all: &[&str]| all.iter().map(|name| place.join(name)).collect::<Vec<_>>();
    let _mended = Mended(names(&["ledger.db", "ledger.db-wal", "ledger.spool", "ledger.spool-2"]));
    let mut patient = Patient::start("ledger-read-only.toml", folder, Command::new(env!("CARGO_BIN_EXE_idgate"))).await;
    // The spool alone is read-only: entries bypass it, and use it again afterwards.
    change("+i", &names(&["ledger.spool", "ledger.spool-2"]));
    for _ in 0..5 {
        let reply = ask(&patient.sandbox, &anybody()).await;
        assert_eq!(reply.source(), "provider", "{reply:?}");
        patient.note(&reply);
    }
    let found = look_up(&patient.sandbox, &format!("/{}", patient.told[5])).await;
    assert!(found.body["verdict"].is_string(), "{found:?}");
    change("-i", &names(&["ledger.spool", "ledger.spool-2"]));
    let before = patient.told.len();
    change("+i", &names(&["ledger.db", "ledger.db-wal"]));
    for _ in 0..5 {
        let reply = ask(&patient.sandbox, &anybody()).await;
        assert_eq!(reply.source(), "provider", "{reply:?}");
        patient.note(&reply);
    }
    let spooled = patient.folder.spooled();
    assert!(patient.told[before..].iter().all(|id| spooled.contains(id)), "what is told is on the disk");
    change("+i", &names(&["ledger.spool", "ledger.spool-2"]));
    let first = patient.ask_until_refused().await;
    assert_eq!(first.code(), "ledger_unavailable", "{first:?}");
    patient.assert_that_nothing_new_is_paid().await;
    change("-i", &names(&["ledger.db", "ledger.db-wal", "ledger.spool", "ledger.spool-2"]));
    patient.goes_on_by_itself().await;
    let said = patient.ended().await;
    assert!(
        said.contains("entries go past it into the database")
            && said.contains("entries wait in the spool")
            && said.contains("can be written again"),
        "{said}"
    );
}

fn change(attribute: &str, files: &[std::path::PathBuf]) {
    assert!(Command::new("chattr").arg(attribute).args(files).status().unwrap().success());
}

/// Removes the immutable attribute on drop, so that the files can be deleted even if the test fails.
struct Mended(Vec<std::path::PathBuf>);

impl Drop for Mended {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").args(&self.0).output();
    }
}
