//! The places that hand out temporary keys, played on loopback sockets: STS, a machine's metadata service, a helper
//! behind a URI. Whoever is given a permanent AccessKey by the sandbox takes the keys that are handed out here.
//!
//! Invariants: signatures and tokens are checked as the vendor's places do, whatever is to go wrong; no key is handed out
//! twice. To add a way to go wrong: a variant of [`Trouble`] or [`Lie`], an arm where it is answered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::sleep;

use super::mock_listener::{Cut, Host, MockListener};
use super::simulator::{Scenario, Simulator};
use crate::domain::personal::Secret;
use crate::providers::alibaba::credentials::answer::Keys;
use crate::providers::alibaba::credentials::{imds, sts};
use crate::providers::source::Granted;
use crate::providers::{Claim, Credential, Keyring, Stamp};

/// The longest request body in bytes.
const MAX_REQUEST: usize = 64 * 1024;
/// How long keys live, unless something else is set. STS goes by the question.
const LIFETIME: Duration = Duration::from_hours(1);
/// The role of the simulated machine.
pub(super) const ROLE: &str = "sandbox-role";

/// A place that hands out keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// `AssumeRole` and `AssumeRoleWithOIDC`.
    Sts,
    /// The machine's role.
    Metadata,
    /// A GET that answers with keys.
    Uri,
}

/// What goes wrong at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// A closed port.
    Down,
    /// No answer.
    Hang,
    /// Another status.
    Status(u16),
    /// A wrong document.
    Lie(Lie),
    /// Metadata only: no token is handed out, as on a machine that knows version 1 only.
    NoTokens,
}

/// How a document is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// It is none.
    Garbage,
    /// Its `Code` is not `Success`.
    NotSuccess,
    /// It has no secret.
    MissingField,
    /// Its keys have ended.
    Ended,
}

/// The places, what goes wrong at them, and what they have handed out.
pub struct Issuer {
    doors: [MockListener; 3],
    simulators: Arc<[Arc<Simulator>]>,
    scenario: Arc<Scenario>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    lifetime: Option<Duration>,
    troubles: [Option<Trouble>; 3],
    requests: [u64; 3],
    issued: u64,
    tokens: Vec<Secret>,
    secrets: Vec<Secret>,
}

impl Place {
    /// All of them.
    pub const ALL: [Place; 3] = [Place::Sts, Place::Metadata, Place::Uri];

    /// The word on the control routes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Place::Sts => "sts",
            Place::Metadata => "metadata",
            Place::Uri => "uri",
        }
    }
}

impl Issuer {
    pub(super) fn bind(simulators: Arc<[Arc<Simulator>]>, scenario: Arc<Scenario>) -> io::Result<Self> {
        let doors = [MockListener::bind()?, MockListener::bind()?, MockListener::bind()?];
        Ok(Self { doors, simulators, scenario, book: Mutex::default() })
    }

    /// Where a place listens.
    pub fn address(&self, place: Place) -> SocketAddr {
        self.mock_listener(place).addr()
    }

    /// Lets something go wrong at a place, or nothing.
    ///
    /// # Errors
    /// When a closed port is lost to somebody else.
    pub fn set_trouble(&self, place: Place, trouble: Option<Trouble>) -> io::Result<()> {
        match trouble {
            Some(Trouble::Down) => self.mock_listener(place).shut(),
            _ => self.mock_listener(place).open()?,
        }
        *entry(&mut self.book().troubles, place) = trouble;
        Ok(())
    }

    /// How long keys live from now on, whatever is asked for; without one an hour, or what STS is asked for.
    pub fn set_lifetime(&self, lifetime: Option<Duration>) {
        self.book().lifetime = lifetime;
    }

    /// Ends all keys that were handed out.
    pub fn end_all(&self) {
        self.simulators.iter().for_each(|simulator| simulator.end_temporary());
    }

    /// How many requests a place has read.
    pub fn requests(&self, place: Place) -> u64 {
        *entry(&mut self.book().requests, place)
    }

    /// How many keys were handed out.
    pub fn issued(&self) -> u64 {
        self.book().issued
    }

    /// Every secret that was handed out, for tests that look for them where they must not be.
    pub fn secrets(&self) -> Vec<Secret> {
        self.book().secrets.clone()
    }

    fn mock_listener(&self, place: Place) -> &MockListener {
        let [sts, metadata, uri] = &self.doors;
        match place {
            Place::Sts => sts,
            Place::Metadata => metadata,
            Place::Uri => uri,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New keys; every simulator that knows AccessKeys takes them.
    fn issue(&self, lifetime: Duration, lie: Option<Lie>) -> Granted {
        let now = self.scenario.clock.now();
        let unique = || self.scenario.ids.nonce().simple().to_string();
        let mut book = self.book();
        book.issued += 1;
        let lifetime = book.lifetime.unwrap_or(lifetime);
        let (secret, token) = (format!("sandboxTemporary{}", unique()), format!("CAIS+sandbox/{}==", unique()));
        book.secrets.extend([Secret::new(secret.as_str()), Secret::new(token.as_str())]);
        drop(book);
        let credential = Credential::AccessKey {
            id: format!("STS.sandbox{}", unique()),
            secret: Secret::new(secret),
            security_token: Some(Secret::new(token)),
        };
        let ends = if lie == Some(Lie::Ended) { now } else { now.saturating_add(lifetime).unwrap_or(now) };
        for simulator in self.simulators.iter().filter(|simulator| knows_access_keys(simulator)) {
            simulator.admit(credential.clone(), ends);
        }
        Granted { credential, ends: Some(ends), from: "sandbox" }
    }

    fn sts(&self, request: &Request<Bytes>, stamp: &Stamp, lie: Option<Lie>) -> Response<Bytes> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        match sts::read(request, self, stamp) {
            Ok(asked) => {
                let granted = self.issue(Duration::from_secs(asked.seconds), lie);
                lied(sts::reply(&granted, &stamp.nonce), lie)
            }
            Err(code) => sts::refuse(code, host, &stamp.nonce),
        }
    }

    fn metadata(&self, request: &Request<Bytes>, trouble: Option<Trouble>, lie: Option<Lie>) -> Response<Bytes> {
        let (method, path) = (request.method(), request.uri().path());
        if *method == Method::PUT && path == imds::TOKEN_PATH {
            if trouble == Some(Trouble::NoTokens) || !request.headers().contains_key(imds::TOKEN_TTL_HEADER) {
                return status(StatusCode::NOT_FOUND);
            }
            let token = self.scenario.ids.nonce().simple().to_string();
            let mut book = self.book();
            book.tokens.push(Secret::new(token.as_str()));
            book.secrets.push(Secret::new(token.as_str()));
            return plain(token);
        }
        // A token that is shown must be one of ours; whoever shows none is on version 1.
        let shown = request.headers().get(imds::TOKEN_HEADER).map(HeaderValue::as_bytes);
        if shown.is_some_and(|shown| !self.book().tokens.iter().any(|token| token.matches(shown))) {
            return status(StatusCode::UNAUTHORIZED);
        }
        match path.strip_prefix(imds::ROLES_PATH) {
            Some("") if *method == Method::GET => plain(ROLE.to_owned()),
            Some(role) if *method == Method::GET && role == ROLE => self.flat(lie),
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    fn flat(&self, lie: Option<Lie>) -> Response<Bytes> {
        let keys = Keys { code: Some("Success".to_owned()), ..Keys::of(&self.issue(LIFETIME, lie)) };
        let body = serde_json::to_string(&keys).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        lied(response, lie)
    }
}

impl Keyring for Issuer {
    /// STS lends a role to the sandbox's own AccessKeys.
    fn find(&self, claim: Claim<'_>) -> Option<&Credential> {
        self.simulators.iter().find_map(|simulator| simulator.spec().credential.find(claim))
    }
}

impl Host for Issuer {
    fn doors(&self) -> &[MockListener] {
        &self.doors
    }

    async fn answer(&self, mock_listener: usize, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let place = Place::ALL.get(mock_listener).copied().ok_or(Cut::Close)?;
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, MAX_REQUEST).collect().await.map_err(|_| Cut::Close)?.to_bytes();
        let request = Request::from_parts(parts, body);
        let trouble = {
            let mut book = self.book();
            *entry(&mut book.requests, place) += 1;
            *entry(&mut book.troubles, place)
        };
        let lie = match trouble {
            Some(Trouble::Down) => return Err(Cut::Reset),
            Some(Trouble::Hang) => {
                sleep(Duration::from_hours(1)).await;
                return Err(Cut::Close);
            }
            Some(Trouble::Status(code)) => {
                let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Ok(status(code).map(Body::from));
            }
            Some(Trouble::Lie(lie)) => Some(lie),
            Some(Trouble::NoTokens) | None => None,
        };
        let stamp = Stamp { now: self.scenario.clock.now(), nonce: self.scenario.ids.nonce().to_string() };
        let response = match place {
            Place::Sts => self.sts(&request, &stamp, lie),
            Place::Metadata => self.metadata(&request, trouble, lie),
            Place::Uri if *request.method() == Method::GET => self.flat(lie),
            Place::Uri => status(StatusCode::METHOD_NOT_ALLOWED),
        };
        Ok(response.map(Body::from))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("doors", &self.doors).finish_non_exhaustive()
    }
}

fn knows_access_keys(simulator: &Simulator) -> bool {
    matches!(simulator.spec().credential, Credential::AccessKey { .. })
}

fn entry<T>(of_all: &mut [T; 3], place: Place) -> &mut T {
    let [sts, metadata, uri] = of_all;
    match place {
        Place::Sts => sts,
        Place::Metadata => metadata,
        Place::Uri => uri,
    }
}

/// The right answer, made wrong.
fn lied(right: Response<Bytes>, lie: Option<Lie>) -> Response<Bytes> {
    right.map(|body| match lie {
        None | Some(Lie::Ended) => body,
        Some(Lie::Garbage) => Bytes::from_static(b"{\"Code\":\"Success\",\"AccessKeyId\":"),
        Some(Lie::NotSuccess) => Bytes::from_static(b"{\"Code\":\"Failed\",\"Message\":\"sandbox\"}"),
        Some(Lie::MissingField) => {
            let text = String::from_utf8_lossy(&body).replace("\"AccessKeySecret\"", "\"Unknown\"");
            Bytes::from(text)
        }
    })
}

fn plain(text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = plain("sandbox".to_owned());
    *response.status_mut() = status;
    response
}
