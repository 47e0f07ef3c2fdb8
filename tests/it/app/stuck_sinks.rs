//! A log reader that stops reading costs log lines, never an answer: not on either listener, and not at the end.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, TempFile, idgate};

/// Longer than any answer takes, shorter than any timeout of idgate's.
const SOON: Duration = Duration::from_secs(5);

/// A gateway whose log nobody reads.
struct Stuck {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
    _config: TempFile,
}

/// Fills a pipe until another write would block.
fn fill(mut end: impl AsFd + Write) {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let before = fcntl_getfl(&end).unwrap();
    fcntl_setfl(&end, before | OFlags::NONBLOCK).unwrap();
    loop {
        match end.write(&[b'x'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    fcntl_setfl(&end, before).unwrap();
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Stuck {
    fn start(name: &str, more: &str, outputs: [Stdio; 2]) -> Self {
        let (public, admin) = (free(), free());
        let config = TempFile::new(
            name,
            &format!(
                "[server]\nlisten = \"{public}\"\nadmin_listen = \"{admin}\"\ndrain_notice = \"0s\"\n{more}\n\
                 [providers.none]\ndriver = \"muzhiyun\"\nendpoints = [\"http://127.0.0.1:9\"]\n\
                 app_code = {{ value = \"0123456789abcdef0123456789abcdef\" }}\n[chain]\norder = [\"none\"]\n"
            ),
        );
        let [out, err] = outputs;
        let child = idgate(&["serve", "--config", config.path()]).stdout(out).stderr(err).spawn().unwrap();
        let mut stuck = Self { child, public, admin, _config: config };
        let began = Instant::now();
        while TcpStream::connect(public).is_err() {
            assert!(stuck.child.try_wait().unwrap().is_none(), "it ended");
            assert!(began.elapsed() < PATIENCE, "it does not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        stuck
    }

    /// Sends `count` requests over one connection, and a probe now and then.
    fn ask(&self, count: usize) {
        let mut stream = connect(self.public);
        for n in 0..count {
            let status = exchange(&mut stream, "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(status, "415", "request {n}");
            if n % 500 == 0 {
                self.is_alive();
            }
        }
    }

    fn is_alive(&self) {
        for path in ["/livez", "/v1/status"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.admin);
            assert_eq!(exchange(&mut connect(self.admin), &request), "200", "{path}");
        }
    }

    fn lost(&self, sink: &str) -> u64 {
        let mut stream = connect(self.admin);
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let series = format!("idgate_log_lines_lost_total{{sink=\"{sink}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    /// Ends with the exit code 3 if the last lines of a log are lost.
    fn ends_soon(mut self, code: i32) {
        assert!(Command::new("/bin/kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break assert_eq!(status.code(), Some(code));
            }
            assert!(began.elapsed() < 2 * SOON, "SIGTERM does not end it");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Sends a request and returns the status of the response.
fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut got = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).expect("an answer comes soon");
        assert!(read > 0, "closed");
        got.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&got);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() >= length.parse().unwrap() {
            return head[9..12].to_owned();
        }
    }
}

#[test]
fn a_reader_of_standard_output_that_stops_costs_log_lines_and_no_answer() {
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    let stuck = Stuck::start("stuck-stdout.toml", "", [writer.into(), Stdio::null()]);
    assert_eq!(stuck.lost("access"), 0);
    // Each line is longer than 150 bytes, and a MiB of them may wait.
    stuck.ask(9_000);
    stuck.is_alive();
    assert!(stuck.lost("access") > 0);
    stuck.ends_soon(3);
    drop(reader);
}

#[test]
fn lines_that_were_lost_before_the_reader_came_back_are_no_loss_at_the_end() {
    let (mut reader, writer) = pipe().unwrap();
    fill(&writer);
    let stuck = Stuck::start("unstuck-stdout.toml", "", [writer.into(), Stdio::null()]);
    stuck.ask(9_000);
    assert!(stuck.lost("access") > 0);
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    stuck.ends_soon(0);
    reading.join().unwrap().unwrap();
}

#[test]
fn a_reader_of_standard_error_that_stops_costs_no_answer() {
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    let stuck = Stuck::start("stuck-stderr.toml", "\n[log]\nlevel = \"debug\"", [Stdio::null(), writer.into()]);
    stuck.ask(100);
    stuck.is_alive();
    assert_eq!(stuck.lost("process"), 0);
    stuck.ends_soon(3);
    drop(reader);
}

#[test]
fn a_fifo_as_log_file_costs_no_answer_with_a_stuck_reader_or_without_one() {
    for has_reader in [true, false] {
        let fifo = Fifo::new(&format!("stuck-{has_reader}.fifo"));
        let reader = has_reader.then(|| {
            let end = OpenOptions::new().read(true).write(true).open(&fifo.0).unwrap();
            fill(&end);
            end
        });
        let file = format!("\n[log]\nfile = {:?}", fifo.0);
        let stuck = Stuck::start("stuck-fifo.toml", &file, [Stdio::null(), Stdio::null()]);
        stuck.ask(500);
        stuck.ends_soon(3);
        drop::<Option<File>>(reader);
    }
}

struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        Self(path)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
