//! Simulates the services that issue temporary credentials (STS, instance metadata), on loopback sockets, as the
//! drivers declare them. Every simulator whose permanent credential has the same scheme accepts the credentials issued
//! here.
//!
//! Invariants: signatures and session tokens are checked as the vendor checks them, whatever fault is set; no
//! credential is issued twice. To add a fault, add a variant to [`PlaceFault`] or [`WrongDocument`] and an arm where it
//! is handled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::sleep;

use super::mock_listener::{Cut, Host, MockListener};
use super::simulator::{Scenario, Simulator};
use crate::domain::personal::Secret;
use crate::providers::source::Granted;
use crate::providers::temporary::{Lender, Place};
use crate::providers::{Credential, CredentialStore, Presented, Stamp, temporary_places};

/// Largest request body, in bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// A fault of an issuing service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceFault {
    /// The port is closed.
    Down,
    /// No answer for an hour, then the connection is closed.
    Hang,
    /// This HTTP status instead of the answer.
    Status(u16),
    /// A document with an error in it.
    #[serde(rename = "lie")]
    WrongDocument(WrongDocument),
    /// No session tokens are issued, as by a metadata service that supports version 1 only.
    NoTokens,
}

/// The error in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrongDocument {
    /// The document is cut off in the middle.
    Garbage,
    /// A well-formed error response.
    NotSuccess,
    /// The member with the secret is missing.
    MissingField,
    /// The credential has already expired.
    Ended,
}

/// The issuing services, their faults, and the credentials they have issued.
pub struct CredentialPlaces {
    places: Vec<&'static Place>,
    listeners: Vec<MockListener>,
    simulators: Arc<[Arc<Simulator>]>,
    scenario: Arc<Scenario>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lifetime: Option<Duration>,
    faults: BTreeMap<&'static str, PlaceFault>,
    requests: BTreeMap<&'static str, u64>,
    issued: u64,
    sessions: Vec<Secret>,
    secrets: Vec<Secret>,
}

impl CredentialPlaces {
    pub(super) fn bind(simulators: Arc<[Arc<Simulator>]>, scenario: Arc<Scenario>) -> io::Result<Self> {
        let places = temporary_places();
        let listeners = places.iter().map(|_| MockListener::bind()).collect::<io::Result<_>>()?;
        Ok(Self { places, listeners, simulators, scenario, state: Mutex::default() })
    }

    /// Every issuing service that the drivers declare.
    pub fn places(&self) -> &[&'static Place] {
        &self.places
    }

    /// The loopback address of an issuing service.
    ///
    /// # Errors
    /// If no driver declares a service of this name.
    pub fn address(&self, place: &str) -> io::Result<SocketAddr> {
        Ok(self.find(place)?.1.addr())
    }

    /// Sets the fault of an issuing service; `None` clears it.
    ///
    /// # Errors
    /// If there is no such service, or another process took its port while it was closed.
    pub fn set_place_fault(&self, place: &str, fault: Option<PlaceFault>) -> io::Result<()> {
        let (place, mock_listener) = self.find(place)?;
        match fault {
            Some(PlaceFault::Down) => mock_listener.shut(),
            _ => mock_listener.open()?,
        }
        let mut state = self.state();
        match fault {
            Some(fault) => state.faults.insert(place.name, fault),
            None => state.faults.remove(place.name),
        };
        Ok(())
    }

    /// Sets the lifetime of credentials issued from now on, whatever the requests ask for. `None` grants what they ask
    /// for.
    pub fn set_lifetime(&self, lifetime: Option<Duration>) {
        self.state().lifetime = lifetime;
    }

    /// Expires all issued credentials.
    pub fn end_all(&self) {
        self.simulators.iter().for_each(|simulator| simulator.end_temporary());
    }

    /// Requests that the service has read, including those that a fault left unanswered.
    pub fn requests(&self, place: &str) -> u64 {
        self.state().requests.get(place).copied().unwrap_or_default()
    }

    pub fn issued(&self) -> u64 {
        self.state().issued
    }

    /// Every secret that was issued, so that tests can check that none leaks.
    pub fn secrets(&self) -> Vec<Secret> {
        self.state().secrets.clone()
    }

    fn find(&self, name: &str) -> io::Result<(&'static Place, &MockListener)> {
        let mut all = self.places.iter().copied().zip(&self.listeners);
        all.find(|(place, _)| place.name == name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One issuing service while it answers one request.
struct Counter<'a> {
    of: &'a CredentialPlaces,
    place: &'static Place,
    fault: Option<PlaceFault>,
}

impl Lender for Counter<'_> {
    fn keys(&self) -> &dyn CredentialStore {
        self.of
    }

    fn lend(&self, lifetime: Duration) -> Granted {
        let Scenario { clock, ids, .. } = &*self.of.scenario;
        let (now, unique) = (clock.wall(), || ids.nonce().simple().to_string());
        let (secret, token) = (format!("sandboxTemporary{}", unique()), format!("CAIS+sandbox/{}==", unique()));
        let [secret, token] = [secret, token].map(Secret::new);
        let lifetime = {
            let mut state = self.of.state();
            state.issued += 1;
            state.secrets.extend([secret.clone(), token.clone()]);
            state.lifetime.unwrap_or(lifetime)
        };
        let id = format!("{}sandbox{}", self.place.id_prefix, unique());
        let credential = Credential::new(self.place.scheme, id, secret).with_token(Some(token));
        let has_ended = self.fault == Some(PlaceFault::WrongDocument(WrongDocument::Ended));
        let ends = if has_ended { now } else { now.saturating_add(lifetime).unwrap_or(now) };
        for simulator in self.of.simulators.iter() {
            if simulator.spec().credential.scheme() == self.place.scheme {
                simulator.admit(credential.clone(), ends);
            }
        }
        Granted { credential, ends: Some(ends), from: "sandbox" }
    }

    fn session(&self) -> Option<String> {
        if self.fault == Some(PlaceFault::NoTokens) {
            return None;
        }
        let token = self.of.scenario.ids.nonce().simple().to_string();
        let mut state = self.of.state();
        state.sessions.push(Secret::new(token.as_str()));
        state.secrets.push(Secret::new(token.as_str()));
        Some(token)
    }

    fn knows_session(&self, token: &[u8]) -> bool {
        self.of.state().sessions.iter().any(|session| session.matches(token))
    }
}

impl CredentialStore for CredentialPlaces {
    /// Requests for a temporary credential are signed with a simulator's permanent credential.
    fn find(&self, presented: Presented<'_>) -> Option<&Credential> {
        self.simulators.iter().find_map(|simulator| simulator.spec().credential.find(presented))
    }
}

impl Host for CredentialPlaces {
    fn listeners(&self) -> &[MockListener] {
        &self.listeners
    }

    async fn answer(&self, mock_listener: usize, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let place = self.places.get(mock_listener).copied().ok_or(Cut::Close)?;
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, MAX_REQUEST).collect().await.map_err(|_| Cut::Close)?.to_bytes();
        let request = Request::from_parts(parts, body);
        let fault = {
            let mut state = self.state();
            *state.requests.entry(place.name).or_default() += 1;
            state.faults.get(place.name).copied()
        };
        match fault {
            Some(PlaceFault::Down) => return Err(Cut::Reset),
            Some(PlaceFault::Hang) => {
                sleep(Duration::from_hours(1)).await;
                return Err(Cut::Close);
            }
            Some(PlaceFault::Status(code)) => return Ok(status(code).map(Body::from)),
            Some(PlaceFault::WrongDocument(_) | PlaceFault::NoTokens) | None => {}
        }
        let stamp = Stamp { now: self.scenario.clock.wall(), nonce: self.scenario.ids.nonce().to_string() };
        let right = (place.answer)(&request, &Counter { of: self, place, fault }, &stamp);
        Ok(corrupted(right, place, fault).map(Body::from))
    }
}

impl fmt::Debug for CredentialPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialPlaces").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Corrupts the right answer if the fault says so.
fn corrupted(right: Response<Bytes>, place: &Place, fault: Option<PlaceFault>) -> Response<Bytes> {
    let Some(PlaceFault::WrongDocument(lie)) = fault else { return right };
    // Other answers, such as session tokens and errors, stay as they are.
    if !String::from_utf8_lossy(right.body()).contains(place.secret_member) {
        return right;
    }
    right.map(|body| match lie {
        WrongDocument::Ended => body,
        WrongDocument::Garbage => body.slice(..body.len() / 2),
        WrongDocument::NotSuccess => Bytes::from_static(place.says_no.as_bytes()),
        WrongDocument::MissingField => String::from_utf8_lossy(&body).replace(place.secret_member, "Unknown").into(),
    })
}

fn status(code: u16) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"sandbox"));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
