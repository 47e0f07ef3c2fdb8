//! The load generator: one thread, epoll, HTTP/1.1 on connections that stay open. Prints JSON lines.
//!
//!   load --to ADDRESS:PORT [--connections N] [--requests N] [--seconds S] [--rate R]
//!        [--first N] [--people N] [--draw] [--every-second]
//!
//! Without --rate every connection asks again as soon as it is answered. With it questions come at random (Poisson, the
//! same for every target), whatever the server does, and times count from the moment a question was due: a server that
//! stalls cannot slow down the schedule that judges it.
//!
//! Questions are about person --first and the --people - 1 after it, in turn or drawn (--draw).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use idgate_peers::histogram::Histogram;
use idgate_peers::{address, argument, fail, flag, people};

const SECOND: u64 = 1_000_000_000;
/// How long to wait for the last answers.
const PATIENCE: u64 = 15 * SECOND;

struct Random(u64);

impl Random {
    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Between 0 and 1, and neither of them.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

/// Writes one request after the other.
struct Questions {
    head: String,
    first: u64,
    people: u64,
    asked: u64,
    draw: Option<Random>,
    body: String,
    request: String,
}

impl Questions {
    fn next(&mut self) -> &[u8] {
        let n = self.draw.as_mut().map_or(self.asked, Random::next) % self.people;
        self.asked += 1;
        self.body.clear();
        people::write_question(self.first + n, &mut self.body);
        self.request.clear();
        self.request.push_str(&self.head);
        self.request.push_str(&self.body.len().to_string());
        self.request.push_str("\r\n\r\n");
        self.request.push_str(&self.body);
        self.request.as_bytes()
    }
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    /// When the question that it waits for was due.
    due: Option<u64>,
}

/// What came of a connection that can be read.
enum Event {
    Nothing,
    Answered { due: u64, is_good: bool },
    Broken { was_waiting: bool },
}

impl Connection {
    fn open(to: SocketAddr) -> Self {
        let open = || {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let stream = open().unwrap_or_else(|why: std::io::Error| fail(&format!("{to}: {why}")));
        Self { stream, answer: Vec::new(), due: None }
    }

    fn ask(&mut self, question: &[u8], due: u64) {
        self.due = Some(due);
        self.answer.clear();
        if self.stream.write(question).ok() != Some(question.len()) {
            // It will be read as broken.
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn read(&mut self) -> Event {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Event::Nothing,
            Err(_) | Ok(0) => return Event::Broken { was_waiting: self.due.is_some() },
            Ok(length) => self.answer.extend_from_slice(&chunk[..length]),
        }
        let Some(due) = self.due else { return Event::Nothing };
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(status) = response.parse(&self.answer) else { return Event::Broken { was_waiting: true } };
        let httparse::Status::Complete(head) = status else { return Event::Nothing };
        let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
        let Some(length) = length else { return Event::Broken { was_waiting: true } };
        if self.answer.len() < head + length {
            return Event::Nothing;
        }
        let is_good = response.code == Some(200);
        self.due = None;
        Event::Answered { due, is_good }
    }
}

struct Epoll(i32);

impl Epoll {
    fn new() -> Self {
        // SAFETY: takes no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        // SAFETY: as above. Timers may fire a nanosecond late instead of 50 µs.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_usize) };
        Self(epoll)
    }

    fn add(&self, stream: &TcpStream, index: usize) {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLRDHUP) as u32, u64: index as u64 };
        // SAFETY: both descriptors are open, and the event outlives the call.
        let failed = unsafe { libc::epoll_ctl(self.0, libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &raw mut event) };
        assert_eq!(failed, 0, "epoll_ctl");
    }

    /// The indexes of what can be read, at most `nanoseconds` later.
    fn wait(&self, events: &mut [libc::epoll_event; 512], nanoseconds: u64) -> usize {
        let time = libc::timespec { tv_sec: (nanoseconds / SECOND) as i64, tv_nsec: (nanoseconds % SECOND) as i64 };
        // SAFETY: there is room for 512 events, and the time outlives the call.
        let count = unsafe { libc::epoll_pwait2(self.0, events.as_mut_ptr(), 512, &raw const time, std::ptr::null()) };
        usize::try_from(count).unwrap_or(0)
    }
}

struct Load {
    to: SocketAddr,
    epoll: Epoll,
    connections: Vec<Connection>,
    free: Vec<usize>,
    questions: Questions,
    began: Instant,
    all: Histogram,
    this_second: Option<Histogram>,
    bad: u64,
    broken: u64,
}

impl Load {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn connect(&mut self) {
        let connection = Connection::open(self.to);
        self.epoll.add(&connection.stream, self.connections.len());
        self.free.push(self.connections.len());
        self.connections.push(connection);
    }

    fn ask(&mut self, index: usize, due: u64) {
        self.connections[index].ask(self.questions.next(), due);
    }

    fn read(&mut self, index: usize) {
        match self.connections[index].read() {
            Event::Nothing => {}
            Event::Answered { due, is_good } => {
                let took = self.now().saturating_sub(due);
                self.all.add(took);
                self.this_second.iter_mut().for_each(|second| second.add(took));
                self.bad += u64::from(!is_good);
                self.free.push(index);
            }
            Event::Broken { was_waiting } => {
                self.connections[index] = Connection::open(self.to);
                self.epoll.add(&self.connections[index].stream, index);
                if was_waiting {
                    self.broken += 1;
                    self.free.push(index);
                }
            }
        }
    }

    /// Asks until `limit` questions are asked or `end` has come, and waits for the answers. Returns when the last came,
    /// and how many questions were asked.
    fn run(&mut self, limit: u64, end: u64, rate: Option<f64>) -> (u64, u64) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 512];
        let mut schedule = Random(0x1234_5678_9abc_def1);
        let mut waiting = VecDeque::new();
        let (mut asked, mut next_due, mut next_second, mut last) = (0, 0.0, SECOND, 0);
        self.began = Instant::now();
        loop {
            let now = self.now();
            if let Some(rate) = rate {
                while next_due <= now as f64 && (next_due as u64) < end && asked < limit {
                    waiting.push_back(next_due as u64);
                    asked += 1;
                    next_due -= SECOND as f64 / rate * schedule.unit().ln();
                }
                while !waiting.is_empty()
                    && let Some(index) = self.free.pop()
                {
                    let due = waiting.pop_front().unwrap_or(now);
                    self.ask(index, due);
                }
            } else {
                while now < end && asked < limit {
                    let Some(index) = self.free.pop() else { break };
                    asked += 1;
                    let due = self.now();
                    self.ask(index, due);
                }
            }
            if now >= next_second {
                self.print_second(next_second / SECOND);
                next_second += SECOND;
            }
            let is_over = now >= end || asked >= limit;
            let is_answered = waiting.is_empty() && self.free.len() == self.connections.len();
            if is_over && is_answered || now >= end.saturating_add(PATIENCE) {
                return (last, asked);
            }
            let until = if rate.is_some() && !is_over { (next_due as u64).min(next_second) } else { next_second };
            for at in 0..self.epoll.wait(&mut events, until.saturating_sub(self.now())) {
                let index = events[at].u64 as usize;
                self.read(index);
                last = self.now();
            }
        }
    }

    fn print_second(&mut self, second: u64) {
        if let Some(times) = &mut self.this_second {
            println!(r#"{{"second":{second},{},"bad":{},"broken":{}}}"#, times.json(), self.bad, self.broken);
            times.clear();
        }
    }
}

fn main() {
    let to = address("to");
    let rate: Option<f64> = argument("rate");
    let seconds: Option<f64> = argument("seconds");
    let limit: Option<u64> = argument("requests");
    if seconds.is_none() && limit.is_none() {
        fail("--seconds or --requests says when to end");
    }
    let head = format!(
        "POST /v1/verify HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer bench-key\r\nContent-Type: application/json\r\n\
         Content-Length: "
    );
    let mut load = Load {
        to,
        epoll: Epoll::new(),
        connections: Vec::new(),
        free: Vec::new(),
        questions: Questions {
            head,
            first: argument("first").unwrap_or(0),
            people: argument("people").unwrap_or(1),
            asked: 0,
            draw: flag("draw").then_some(Random(0x9e37_79b9_7f4a_7c15)),
            body: String::new(),
            request: String::new(),
        },
        began: Instant::now(),
        all: Histogram::default(),
        this_second: flag("every-second").then(Histogram::default),
        bad: 0,
        broken: 0,
    };
    for _ in 0..argument("connections").unwrap_or(32) {
        load.connect();
    }
    let end = seconds.map_or(u64::MAX, |seconds| (seconds * SECOND as f64) as u64);
    let (last, asked) = load.run(limit.unwrap_or(u64::MAX), end, rate);
    let lost = asked - load.all.count() - load.broken;
    let took = last as f64 / SECOND as f64;
    println!(
        r#"{{{},"bad":{},"broken":{},"lost":{lost},"seconds":{took:.4}}}"#,
        load.all.json(),
        load.bad,
        load.broken
    );
}
