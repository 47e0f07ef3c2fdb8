//! Services that the gateway uses, started by the tests on sockets of their own, and a forwarder before them that can
//! stall, cut and lead elsewhere.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// A `redis-server` that listens on a Unix socket in a folder of its own, and keeps nothing.
pub struct RedisServer {
    server: Child,
    folder: PathBuf,
    more: Vec<String>,
}

/// Passes connections on to a socket, which may change.
pub struct Forwarder {
    path: PathBuf,
    to: Arc<Mutex<PathBuf>>,
    traffic: watch::Sender<Traffic>,
    cuts: watch::Sender<u32>,
}

/// What becomes of the bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Flows,
    /// Connections stay open, and nothing passes.
    Stalls,
    /// Each piece of an answer comes so much later.
    Lags(Duration),
    /// New connections are closed at once.
    Refused,
}

impl RedisServer {
    /// Starts one. Panics if there is none on this machine: a test that needs it says so.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with more arguments.
    pub fn with(more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|one| (*one).to_owned()).collect();
        let folder = folder("redis");
        let server = run(&folder, &more);
        Self { server, folder, more }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// As `shared.redis` names it.
    pub fn address(&self) -> String {
        address(&self.socket())
    }

    pub fn client(&self) -> redis::Client {
        redis::Client::open(format!("unix://{}", self.socket().display())).unwrap()
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        self.client().get_multiplexed_async_connection().await.unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// Starts it again, empty.
    pub fn restart(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.socket());
        self.server = run(&self.folder, &self.more);
    }

    /// It stays connected and answers nothing.
    pub fn pause(&self) {
        signal(self.server.id(), "-STOP");
    }

    pub fn resume(&self) {
        signal(self.server.id(), "-CONT");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Forwarder {
    /// Forwards what comes to a socket of its own to `to`. Needs a tokio runtime.
    pub fn to(to: &Path) -> Self {
        let path = folder("forwarder").join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let to = Arc::new(Mutex::new(to.to_owned()));
        let (traffic, cuts) = (watch::Sender::new(Traffic::Flows), watch::Sender::new(0));
        let forwarder = Self { path, to: Arc::clone(&to), traffic: traffic.clone(), cuts: cuts.clone() };
        tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let target = to.lock().unwrap().clone();
                if *traffic.borrow() == Traffic::Refused {
                    continue;
                }
                let (traffic, mut cut) = (traffic.subscribe(), cuts.subscribe());
                tokio::spawn(async move {
                    let Ok(inside) = UnixStream::connect(target).await else { return };
                    let ((from, back), (answers, there)) = (outside.into_split(), inside.into_split());
                    tokio::select! {
                        () = pass(from, there, traffic.clone(), false) => {}
                        () = pass(answers, back, traffic, true) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        forwarder
    }

    pub fn address(&self) -> String {
        address(&self.path)
    }

    pub fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }

    /// Closes the connections that there are.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Closes the connections that there are; later ones lead to `to`.
    pub fn lead_to(&self, to: &Path) {
        *self.to.lock().unwrap() = to.to_owned();
        self.cut();
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.path.parent().into_iter().for_each(|folder| drop(std::fs::remove_dir_all(folder)));
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut traffic: watch::Receiver<Traffic>, lags: bool) {
    let mut bytes = vec![0; 65_536];
    loop {
        let Ok(length @ 1..) = from.read(&mut bytes).await else { return };
        if traffic.wait_for(|traffic| *traffic != Traffic::Stalls).await.is_err() {
            return;
        }
        let traffic = *traffic.borrow();
        if let (true, Traffic::Lags(by)) = (lags, traffic) {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

fn address(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// A folder of its own, with a short path: that of a socket has at most 107 bytes.
fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{next}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn run(folder: &Path, more: &[String]) -> Child {
    let mut server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .arg("--unixsocket")
        .arg(folder.join("s"))
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; Debian has it as redis-server"));
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(folder.join("s")).is_err() {
        let ended = server.try_wait().unwrap();
        assert!(
            ended.is_none() && began.elapsed() < Duration::from_secs(20),
            "redis-server does not listen: {ended:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

fn signal(process: u32, signal: &str) {
    let sent = Command::new("/bin/kill").args([signal, &process.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill {signal} {process}");
}
