//! Mutated signed requests: none is accepted unless the mutation changes nothing that is signed.
//!
//! What a request means is defined here, independently of the code under test: exactly what its signature covers,
//! decoded as HTTP and forms are decoded. [`Meaning`] holds it for each scheme. A mutant may be accepted if it is
//! another spelling of the original (reordered parameters, `%61` for `a`, an additional unsigned header), and then
//! only the first such mutant, since they share a nonce. `IDGATE_MUTATIONS` sets the total number of mutants.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::speaker::Covers;
use super::{Answer, Speaker, right, section, speakers, wrong};
use crate::support::TestGateway;

/// Default number of mutants.
const MUTANTS: usize = 12_000;
/// Number of mutants of each original request.
const OF_ONE: usize = 200;
/// Only a broken gateway takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as written to a socket, except for its content length.
#[derive(Debug, Clone)]
struct Wire {
    method: Vec<u8>,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// Everything that a signature of this scheme covers.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    parts: Vec<Vec<u8>>,
    parameters: Vec<(String, String)>,
}

impl Wire {
    fn of(request: &Request<Bytes>) -> Self {
        let target = request.uri().path_and_query().unwrap().as_str().as_bytes().to_vec();
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        Self {
            method: request.method().as_str().as_bytes().to_vec(),
            target,
            headers: request.headers().iter().map(header).collect(),
            body: request.body().to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = [&self.method[..], b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &self.headers {
            out.extend([&name[..], b": ", value, b"\r\n"].concat());
        }
        out.extend(format!("content-length: {}\r\n\r\n", self.body.len()).into_bytes());
        out.extend(&self.body);
        out
    }

    /// The first value of a header, trimmed as HTTP requires.
    fn header(&self, wanted: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
        found.map(|(_, value)| value.trim_ascii())
    }

    fn path_and_query(&self) -> (&[u8], &[u8]) {
        let target = self.target.split(|byte| *byte == b'#').next().unwrap_or_default();
        match target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, b""),
        }
    }

    /// The parameters of the query and, if the body is a form, of the form; sorted.
    fn parameters(&self) -> Vec<(String, String)> {
        let form = b"application/x-www-form-urlencoded";
        let kind = self.header("content-type").unwrap_or_default();
        let is_form = kind.get(..form.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(form));
        let body: &[u8] = if is_form { &self.body } else { b"" };
        let of = |bytes| form_urlencoded::parse(bytes).into_owned();
        let mut all: Vec<_> = of(self.path_and_query().1).chain(of(body)).collect();
        all.sort();
        all
    }

    /// The meaning of the request under a signature that covers `covers`.
    fn meaning(&self, covers: &Covers) -> Meaning {
        let fold = |value: &[u8]| if covers.folds_case { value.to_ascii_lowercase() } else { value.to_vec() };
        let (path, query) = self.path_and_query();
        let mut parts = vec![self.method.clone(), path.to_vec()];
        parts.extend(covers.headers.iter().map(|name| self.header(name).unwrap_or_default().to_vec()));
        if !covers.list.is_empty() {
            let list = String::from_utf8_lossy(self.header(&covers.list).unwrap_or_default()).into_owned();
            // In `Authorization`, the list is one of several parts.
            let list = list.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or(&list);
            let names = list.split(&covers.separator).map(|name| name.trim().to_owned());
            let mut names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
            names.sort();
            let value = |name: &String| fold(self.header(name).unwrap_or_default());
            parts.extend(names.iter().flat_map(|name| [name.clone().into_bytes(), value(name)]));
        }
        if covers.body {
            parts.push(self.body.clone());
        }
        let parameters = match (covers.query.as_str(), covers.form) {
            ("raw", _) => {
                parts.push(query.to_vec());
                Vec::new()
            }
            (_, true) => self.parameters(),
            (_, false) => {
                let mut pairs: Vec<_> = form_urlencoded::parse(query).into_owned().collect();
                pairs.sort();
                pairs
            }
        };
        Meaning { parts, parameters }
    }
}

/// Mutates requests. The seed is fixed, so a failure can be reproduced.
struct Mutator(fastrand::Rng);

impl Mutator {
    fn mutate(&mut self, origin: &Wire, other: &Wire) -> Wire {
        let mut wire = origin.clone();
        for _ in 0..self.0.usize(1..=3) {
            self.once(&mut wire, other);
        }
        wire
    }

    fn once(&mut self, wire: &mut Wire, other: &Wire) {
        let at = self.0.usize(0..wire.headers.len().max(1));
        match self.0.u8(0..21) {
            0..=3 => wire.target = self.bytes(&wire.target),
            4 => wire.target = self.respelled(&wire.target),
            5 => wire.target.extend(self.0.choice([&b"&"[..], b"&a=b", b"?", b"?a=b", b"#x", b"/", b"%00"]).unwrap()),
            6 => wire.body = self.bytes(&wire.body),
            7 => wire.body = self.respelled(&wire.body),
            8 => self.shuffle_pairs(wire),
            9..=11 => {
                if let Some((_, value)) = wire.headers.get_mut(at) {
                    *value = self.bytes(value);
                }
            }
            12 => {
                if let Some((name, _)) = wire.headers.get_mut(at) {
                    *name = self.bytes(name);
                }
            }
            13 if !wire.headers.is_empty() => drop(wire.headers.remove(at)),
            14 => {
                let double = wire.headers.get(at).cloned();
                let value = double.as_ref().map(|(_, value)| self.bytes(value)).unwrap_or_default();
                wire.headers.extend(double.map(|(name, _)| (name, value)));
            }
            15 => {
                let names = [
                    "user-agent",
                    "accept",
                    "date",
                    "content-md5",
                    "x-acs-extra",
                    "x-ca-stage",
                    "x-ca-nonce",
                    "x-acs-security-token",
                    "authorization",
                    "content-type",
                    "x-forwarded-for",
                    "cookie",
                ];
                let name = self.0.choice(names).unwrap().as_bytes().to_vec();
                let values = ["", "x", "*/*", "APPCODE x", "ACS3-HMAC-SHA256 x", "application/x-www-form-urlencoded"];
                wire.headers.push((name, self.0.choice(values).unwrap().as_bytes().to_vec()));
            }
            16 => {
                let methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "post", "PATCH"];
                wire.method = self.0.choice(methods).unwrap().as_bytes().to_vec();
            }
            // Takes a part of another valid request of the same caller, about another person.
            17 => wire.target.clone_from(&other.target),
            18 => wire.body.clone_from(&other.body),
            19 => {
                if let Some((_, value)) = wire.headers.get_mut(at) {
                    let blanks = ["", " ", "\t", " \t"].map(str::as_bytes);
                    let (before, after) = (self.0.choice(blanks).unwrap(), self.0.choice(blanks).unwrap());
                    *value = [before, value, after].concat();
                }
            }
            _ => {
                let part = self.0.choice(&other.headers).cloned();
                let same = part.as_ref().and_then(|(name, _)| wire.headers.iter().position(|(known, _)| known == name));
                if let (Some((_, value)), Some(at)) = (part, same) {
                    wire.headers[at].1 = value;
                }
            }
        }
    }

    /// Mutates bytes regardless of the format, except that line ends are avoided, because they would make several
    /// requests.
    fn bytes(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = text.to_vec();
        let at = self.0.usize(0..=out.len());
        match self.0.u8(0..6) {
            0 if at < out.len() => out[at] ^= 1 << self.0.u8(0..8),
            1 if at < out.len() => drop(out.remove(at)),
            2 => out.insert(at, self.0.choice(*b"0aA&=%+;:,/?\xc2\xe5 ").unwrap()),
            3 => out.truncate(at),
            4 => {
                let end = self.0.usize(at..=out.len());
                let twice = out[at..end].to_vec();
                out.splice(end..end, twice);
            }
            _ if at < out.len() => out[at] = self.0.u8(b' '..=b'~'),
            _ => out.push(b'0'),
        }
        out.retain(|byte| !matches!(byte, b'\r' | b'\n'));
        out
    }

    /// The same text with one character percent-encoded.
    fn respelled(&mut self, text: &[u8]) -> Vec<u8> {
        let Some(at) = (0..text.len()).filter(|at| text[*at].is_ascii_alphanumeric()).nth(self.0.usize(0..40)) else {
            return text.to_vec();
        };
        let encoded = format!("%{:02x}", text[at]).into_bytes();
        [&text[..at], &encoded, &text[at + 1..]].concat()
    }

    /// Reorders the pairs of the body, or moves some of them to the query.
    fn shuffle_pairs(&mut self, wire: &mut Wire) {
        let mut pairs: Vec<Vec<u8>> = wire.body.split(|byte| *byte == b'&').map(<[u8]>::to_vec).collect();
        self.0.shuffle(&mut pairs);
        if self.0.bool() && wire.body.contains(&b'=') {
            let moved = pairs.pop().unwrap_or_default();
            let joint: &[u8] = if wire.target.contains(&b'?') { b"&" } else { b"?" };
            wire.target.extend([joint, &moved].concat());
        }
        wire.body = pairs.join(&b'&');
    }
}

/// A connection that is opened again after the gateway has closed it.
struct Line {
    gateway: std::net::SocketAddr,
    stream: Option<TcpStream>,
}

impl Line {
    async fn say(&mut self, wire: &Wire) -> Answer {
        tokio::time::timeout(PATIENCE, self.exchange(wire))
            .await
            .unwrap_or_else(|_| panic!("no answer to {}", shown(wire)))
    }

    async fn exchange(&mut self, wire: &Wire) -> Answer {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.gateway).await.unwrap(),
        };
        // The parser may refuse a request before all of it is sent.
        let _ = stream.write_all(&wire.bytes()).await;
        let (mut got, mut closed) = (Vec::new(), false);
        loop {
            if let Some((answer, is_kept)) = parsed(&got, closed) {
                self.stream = is_kept.then_some(stream);
                return answer;
            }
            assert!(!closed, "closed without an answer to {}: {}", shown(wire), String::from_utf8_lossy(&got));
            closed = stream.read_buf(&mut got).await.unwrap_or(0) == 0;
        }
    }
}

/// The response, once it is complete, and whether the connection stays open.
fn parsed(got: &[u8], closed: bool) -> Option<(Answer, bool)> {
    let end = memchr::memmem::find(got, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&got[..end]).into_owned();
    let mut response = Response::builder().status(head.split(' ').nth(1)?.parse::<u16>().ok()?);
    let mut headers = BTreeMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ")?;
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
        response = response.header(name, value);
    }
    let length: usize = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let body = got.get(end + 4..end + 4 + length)?;
    let is_kept = !closed && headers.get("connection").is_none_or(|word| word != "close");
    Some((Answer(response.body(Bytes::copy_from_slice(body)).unwrap()), is_kept))
}

fn shown(wire: &Wire) -> String {
    String::from_utf8_lossy(&wire.bytes()).into_owned()
}

#[tokio::test]
async fn no_mutation_of_a_signed_request_is_believed_unless_it_means_the_same() {
    let mutants = std::env::var("IDGATE_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(MUTANTS);
    // Longer than the test takes on any machine.
    let remembers = "[cache]\nmatch_ttl = \"24h\"\nmismatch_ttl = \"24h\"\n";
    let gateway = TestGateway::new().over(section("rate_limit = 1000000")).over(remembers).start().await;
    let signed: Vec<_> = speakers().into_iter().filter(Speaker::is_signed).collect();
    let mut mutator = Mutator(fastrand::Rng::with_seed(0x1d6a7e));
    let mut line = Line { gateway: gateway.public, stream: None };
    let (mut tried, mut believed, mut same) = (0, 0, 0);
    while tried < mutants {
        for speaker in &signed {
            let [origin, other] = [right(), wrong()].map(|pair| Wire::of(&speaker.request(&gateway, &pair)));
            // Both are valid, and a mutant of one may have become the other.
            let meanings = [&origin, &other].map(|wire| wire.meaning(speaker.covers()));
            let mut first = [None, None];
            for _ in 0..OF_ONE {
                let mutant = mutator.mutate(&origin, &other);
                let answer = line.say(&mutant).await;
                tried += 1;
                let what = || format!("{}\n{}\n{answer:?}", speaker.label(), shown(&mutant));
                assert!(answer.status() < 500 || answer.status() == 666, "{}", what());
                let is_ours = answer.header("content-type") == "application/problem+json";
                // What is no HTTP, or names two hosts, is refused before anybody knows the protocol.
                assert!(!is_ours || matches!(answer.status(), 400 | 404), "{}", what());
                let meaning = mutant.meaning(speaker.covers());
                let means = meanings.iter().position(|good| *good == meaning);
                same += usize::from(means.is_some());
                let is_answered = !answer.header("x-idgate-verification-id").is_empty();
                // Only an authenticated caller is told anything about the person, including that it is missing, which
                // happens when the same parameters are sent where this protocol does not look for them.
                let is_judged = speaker.answers.judges.contains(&answer.word()) || answer.status() == 666;
                let is_believed = is_answered || is_judged;
                assert!(means.is_some() || !is_believed, "{}", what());
                if let Some(good) = means.filter(|_| is_believed) {
                    let before = first[good].replace(shown(&mutant));
                    let is_second = before.is_some() && speaker.refuses_replays();
                    assert!(!is_second, "the second with one nonce: {}\nafter {before:?}", what());
                    believed += 1;
                }
            }
            // The original is accepted unless one of its mutants was equivalent to it.
            let answer = line.say(&origin).await;
            let is_answered = !answer.header("x-idgate-verification-id").is_empty();
            let is_new = first[0].is_none() || !speaker.refuses_replays();
            assert_eq!(is_answered, is_new, "{}: {answer:?}\n{first:?}", speaker.label());
        }
    }
    // The mutations must produce both equivalent and different requests.
    assert!(same > tried / 100 && believed > 0, "{tried} tried, {same} mean the same, {believed} believed");
    assert_eq!(gateway.sandbox.calls("aliyun"), 2, "two names of one person were asked about, and nothing else");
}
