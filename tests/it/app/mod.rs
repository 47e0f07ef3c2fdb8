//! The built binary as a process: its output, its exit codes, and what it must never print.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::process;

mod canary;
mod commands;
mod configuration;
mod containers;
mod descriptors;
mod disk;
mod drain;
mod ending;
mod ledger;
mod log_flood;
mod mistakes;
mod operate;
mod reconcile;
mod reload;
mod residue;
mod restart;
mod stuck_sinks;
mod unfinished;

/// Limit on the start and stop of a process; only a broken test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary with these arguments and an empty environment.
fn idgate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idgate"));
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The result of a process that has exited.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // The process may exit without reading its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

/// A file of one test, deleted on drop.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        // Tests of one process may choose the same name.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `idgate sandbox` on free ports, ready to use.
struct SandboxProcess {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
    out: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    err: Arc<Mutex<String>>,
}

impl SandboxProcess {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let free = ["sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        Self::of(idgate(&[&free[..], arguments].concat()).envs(environment.iter().copied()))
    }

    /// Starts the sandbox by a command that executes the binary.
    fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Arc::<Mutex<String>>::default(), Arc::<Mutex<String>>::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![gather(stdout, Arc::clone(&out)), gather(stderr, Arc::clone(&err))];
        let began = Instant::now();
        loop {
            let said = out.lock().unwrap().clone();
            // The last line of the welcome text.
            if said.contains("\nlook ") && said.ends_with('\n') {
                let (public, admin) = (address(&said, "ask "), address(&said, "look "));
                return Self { child, public, admin, out, err, readers };
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("it ended with {status}: {said}{}", err.lock().unwrap());
            }
            assert!(began.elapsed() < PATIENCE, "it does not come up: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(&self) {
        signal(&self.child, "TERM");
    }

    /// Waits for the exit. Returns the status, standard output and standard error.
    fn ended(mut self) -> (ExitStatus, String, String) {
        let status = ended_in_time(&mut self.child);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status, self.out.lock().unwrap().clone(), self.err.lock().unwrap().clone())
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

/// `idgate serve`, once it says that it is up.
struct ServeProcess {
    child: Child,
    err: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl ServeProcess {
    fn start(arguments: &[&str]) -> Self {
        let mut child = idgate(&[&["serve"], arguments].concat()).stdout(Stdio::null()).spawn().unwrap();
        let err = Arc::<Mutex<String>>::default();
        let reader = Some(gather(child.stderr.take().unwrap(), Arc::clone(&err)));
        let process = Self { child, err, reader };
        process.says("idgate is up");
        process
    }

    fn says(&self, text: &str) {
        says(&self.err, text);
    }

    /// The address of the `public` or the `admin` listener, from the line that says that it is up.
    fn address(&self, listener: &str) -> SocketAddr {
        let said = self.err.lock().unwrap().clone();
        let up = said.lines().find(|line| line.contains("idgate is up")).unwrap();
        serde_json::from_str::<serde_json::Value>(up).unwrap()[listener].as_str().unwrap().parse().unwrap()
    }

    fn ended(mut self) -> (ExitStatus, String) {
        let status = ended_in_time(&mut self.child);
        self.reader.take().unwrap().join().unwrap();
        (status, self.err.lock().unwrap().clone())
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        process::end(&mut self.child);
    }
}

/// Waits until a process has written `text`.
fn says(output: &Mutex<String>, text: &str) {
    let began = Instant::now();
    while !output.lock().unwrap().contains(text) {
        assert!(began.elapsed() < PATIENCE, "{text:?} is not in {}", output.lock().unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ended_in_time(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal, such as `INT`.
fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
}

fn gather(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    })
}

/// The address in the line of the welcome text that begins with `word`.
fn address(welcome: &str, word: &str) -> SocketAddr {
    let line = welcome.lines().find(|line| line.starts_with(word)).expect("the welcome has this line");
    let url = line.split("://").nth(1).expect("the line has a URL");
    url.split('/').next().unwrap().parse().expect("the URL has an address")
}
