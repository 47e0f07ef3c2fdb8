//! Simulates one provider: decodes a request, encodes the answer, and corrupts it if a fault is set.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::time::sleep;

use super::call_stats::CallStats;
use super::corrupt;
use super::fault::{Fault, Kind, NotSet};
use super::mock_listener::{Cut, Host, MockListener};
use super::people::People;
use crate::domain::clock::{Clock, Ids};
use crate::domain::money::Prices;
use crate::domain::verdict::Verdict;
use crate::providers::{Access, Asked, Code, Credential, CredentialStore, Driver, Presented, ReplyTo, Service, Stamp};

/// Largest request body, in bytes; the drivers send a few hundred.
const MAX_REQUEST: usize = 64 * 1024;

/// What all simulators of a sandbox share: the people, the default verdict, and the source of time and references.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) people: People,
    pub(super) default: Verdict,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
}

/// A provider to simulate.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// Its name in the configuration and on the control routes.
    pub provider: String,
    /// The server side of its protocol.
    pub service: &'static dyn Service,
    /// Its documented codes, which faults select from.
    pub codes: &'static [&'static [Code]],
    /// Its price list, to count the calls that the real provider would bill.
    pub prices: Prices,
    /// The credential that it accepts until `SandboxHandle::accept` replaces it.
    pub credential: Credential,
    /// The number of its endpoints. Each gets a socket.
    pub endpoints: usize,
}

impl Simulated {
    /// A simulator of `driver` named `provider`, which accepts the driver's sandbox credential.
    ///
    /// # Errors
    /// If the driver has no server side, or rejects its own sandbox settings (a bug in the driver): (key, what is
    /// wrong).
    pub fn of(
        provider: impl Into<String>,
        driver: &Driver,
        endpoints: usize,
    ) -> Result<Self, Vec<(&'static str, String)>> {
        let Some(dialect) = &driver.dialect else {
            return Err(vec![("driver", "has no server side, so it cannot be simulated".to_owned())]);
        };
        let Access::Given(credential) = driver.sandbox()?.access else {
            return Err(vec![("credentials", "must be written in the driver's first sample".to_owned())]);
        };
        let Driver { codes, prices, .. } = *driver;
        Ok(Self { provider: provider.into(), service: dialect.service, codes, prices, credential, endpoints })
    }
}

/// A credential that the simulator accepts.
#[derive(Debug, Clone)]
struct Guest {
    credential: Credential,
    /// The expiry of a temporary credential; `None` for a permanent one.
    ends: Option<Timestamp>,
}

/// The credentials at the time of one request. Expired ones stay in the list, so that they are rejected as expired and
/// not as unknown.
struct Guests {
    all: Vec<Guest>,
    now: Timestamp,
}

impl Guests {
    fn guest(&self, presented: Presented<'_>) -> Option<&Guest> {
        self.all.iter().find(|guest| guest.credential.find(presented).is_some())
    }
}

impl CredentialStore for Guests {
    fn find(&self, presented: Presented<'_>) -> Option<&Credential> {
        self.guest(presented).map(|guest| &guest.credential)
    }

    fn has_ended(&self, presented: Presented<'_>) -> bool {
        self.guest(presented).and_then(|guest| guest.ends).is_some_and(|ends| ends <= self.now)
    }
}

/// A simulated provider with its sockets, fault and call stats.
#[derive(Debug)]
pub(super) struct Simulator {
    spec: Simulated,
    /// One listener per endpoint, then one that redirects lead to. That one always gives the right answer and counts
    /// the call, so that a test notices a client that follows redirects.
    listeners: Vec<MockListener>,
    /// Of the endpoints only, without the redirect target.
    addresses: Vec<SocketAddr>,
    scenario: Arc<Scenario>,
    /// The credentials that are accepted now.
    accepted: Mutex<Vec<Guest>>,
    fault: Mutex<Option<Fault>>,
    call_stats: Mutex<CallStats>,
}

impl Simulator {
    /// Binds the sockets of `spec`; [`mock_listener::serve`](super::mock_listener::serve) serves them.
    pub(super) fn bind(spec: Simulated, scenario: Arc<Scenario>) -> io::Result<Self> {
        let listeners = (0..=spec.endpoints).map(|_| MockListener::bind()).collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().take(spec.endpoints).map(MockListener::addr).collect();
        let accepted = Mutex::new(vec![Guest { credential: spec.credential.clone(), ends: None }]);
        Ok(Self {
            spec,
            listeners,
            addresses,
            scenario,
            accepted,
            fault: Mutex::default(),
            call_stats: Mutex::default(),
        })
    }

    pub(super) fn spec(&self) -> &Simulated {
        &self.spec
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn call_stats(&self) -> MutexGuard<'_, CallStats> {
        self.call_stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the accepted credentials.
    pub(super) fn accept(&self, credentials: Vec<Credential>) {
        *self.accepted() = credentials.into_iter().map(|credential| Guest { credential, ends: None }).collect();
    }

    /// Accepts this temporary credential as well, until it expires.
    pub(super) fn admit(&self, credential: Credential, ends: Timestamp) {
        self.accepted().push(Guest { credential, ends: Some(ends) });
    }

    /// Expires all temporary credentials.
    pub(super) fn end_temporary(&self) {
        let now = self.scenario.clock.wall();
        for guest in self.accepted().iter_mut().filter(|guest| guest.ends.is_some()) {
            guest.ends = Some(now);
        }
    }

    fn accepted(&self) -> MutexGuard<'_, Vec<Guest>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the fault, and shuts or opens the listeners to match.
    pub(super) fn set_fault(&self, fault: Option<Fault>) -> Result<(), NotSet> {
        if let Some(fault) = &fault {
            self.check(fault)?;
        }
        let shut = |endpoint| {
            fault.as_ref().is_some_and(|fault| {
                matches!(fault.kind, Kind::RefuseConnections) && fault.endpoint.is_none_or(|only| only == endpoint)
            })
        };
        for (endpoint, mock_listener) in self.listeners.iter().enumerate() {
            if shut(endpoint) {
                mock_listener.shut();
            } else {
                mock_listener.open()?;
            }
        }
        *self.fault() = fault;
        Ok(())
    }

    fn check(&self, fault: &Fault) -> Result<(), NotSet> {
        if fault.endpoint.is_some_and(|endpoint| endpoint >= self.addresses.len()) {
            return Err(NotSet::NoEndpoint(self.addresses.len()));
        }
        if matches!(fault.kind, Kind::WrongEcho) {
            let somebody = self
                .scenario
                .people
                .iter()
                .next()
                .map(|person| Asked { name: person.name.clone(), id_number: person.id_number.clone() });
            let reply_to = ReplyTo { asked: somebody.clone(), ..ReplyTo::default() };
            let echoed =
                somebody.and_then(|other| self.spec.service.encode_wrong_echo(Verdict::Match, &reply_to, &other));
            echoed.ok_or(NotSet::NoEcho)?;
        }
        Ok(())
    }

    /// What kind of fault is set, in a word.
    pub(super) fn kind_of_fault(&self) -> Option<&'static str> {
        self.fault().as_ref().map(|fault| (&fault.kind).into())
    }

    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that applies to this call, if any. A fault with `times` clears itself after its last call.
    fn take_fault(&self, endpoint: usize, asked: &Asked) -> Option<Kind> {
        let mut set = self.fault();
        let fault = set.as_mut()?;
        let here = endpoint < self.addresses.len() && fault.endpoint.is_none_or(|only| only == endpoint);
        let theirs = fault.id_number.as_ref().is_none_or(|only| *only == asked.id_number);
        if !here || !theirs {
            return None;
        }
        let kind = fault.kind.clone();
        if let Some(times) = fault.times {
            fault.times = NonZeroU32::new(times.get() - 1);
            if fault.times.is_none() {
                *set = None;
            }
        }
        Some(kind)
    }
}

impl Host for Simulator {
    fn listeners(&self) -> &[MockListener] {
        &self.listeners
    }

    async fn answer(&self, endpoint: usize, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, MAX_REQUEST).collect().await.map_err(|_| Cut::Close)?.to_bytes();
        let request = Request::from_parts(parts, body);

        let stamp = Stamp { now: self.scenario.clock.wall(), nonce: self.scenario.ids.nonce().to_string() };
        let guests = Guests { all: self.accepted().clone(), now: stamp.now };
        let (decoded, reply_to) = self.spec.service.decode_request(&request, &guests, &stamp);
        self.call_stats().call(reply_to.asked.as_ref().map(|asked| &asked.id_number));
        let asked = match decoded {
            Ok(asked) => asked,
            Err(refusal) => {
                self.call_stats().refused += 1;
                return Ok(self.spec.service.encode_response(Err(refusal), &reply_to).map(Body::from));
            }
        };
        let call = Call { simulator: self, asked, reply_to };
        match self.take_fault(endpoint, &call.asked) {
            None => Ok(call.right().map(Body::from)),
            Some(kind) => call.spoiled(kind, &request).await,
        }
    }
}

/// A call whose request was accepted.
struct Call<'a> {
    simulator: &'a Simulator,
    asked: Asked,
    reply_to: ReplyTo,
}

impl Call<'_> {
    /// The right answer. Producing it counts as a verdict, and as billed if the price list charges for it.
    fn right(&self) -> Response<Bytes> {
        let Simulator { spec, scenario, .. } = self.simulator;
        let verdict = scenario.people.verdict(&self.asked).unwrap_or(scenario.default);
        self.simulator.call_stats().verdict(spec.prices.billed(verdict));
        spec.service.encode_response(Ok(verdict), &self.reply_to)
    }

    async fn spoiled(&self, kind: Kind, request: &Request<Bytes>) -> Result<Response<Body>, Cut> {
        let Simulator { spec, scenario, .. } = self.simulator;
        Ok(match kind {
            Kind::Refuse(refusal) => spec.service.encode_response(Err(refusal), &self.reply_to).map(Body::from),
            Kind::Hang => {
                self.right();
                pending().await
            }
            Kind::Slow { delay } => {
                let right = self.right();
                sleep(delay).await;
                right.map(Body::from)
            }
            Kind::Drip { interval } => corrupt::dripped(self.right(), interval),
            Kind::Reset => {
                self.right();
                return Err(Cut::Reset);
            }
            Kind::Close => {
                self.right();
                return Err(Cut::Close);
            }
            Kind::Truncated => corrupt::truncated(self.right()),
            Kind::Garbage => corrupt::garbage(self.right()),
            Kind::Empty => corrupt::empty(self.right()),
            Kind::Big => corrupt::big(self.right()),
            Kind::OtherForm => {
                let identity = |value: &HeaderValue| value.as_bytes() == b"identity";
                corrupt::other_form(self.right(), request.headers().get(ACCEPT_ENCODING).is_some_and(identity))
            }
            Kind::Html502 => corrupt::html_502(),
            Kind::Status(status) => corrupt::status(status),
            Kind::Redirect => {
                let elsewhere = self.simulator.listeners.last().ok_or(Cut::Close)?;
                corrupt::redirect(elsewhere.addr(), request.uri().path_and_query().map_or("/", PathAndQuery::as_str))
            }
            Kind::WrongEcho => {
                let right = self.right();
                let other = scenario.people.other_than(&self.asked);
                let wrong =
                    other.and_then(|other| spec.service.encode_wrong_echo(Verdict::Match, &self.reply_to, &other));
                wrong.unwrap_or(right).map(Body::from)
            }
            // The listener is shut; this connection was accepted just before.
            Kind::RefuseConnections => return Err(Cut::Reset),
        })
    }
}
