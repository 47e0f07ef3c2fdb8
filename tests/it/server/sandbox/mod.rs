//! All simulators over real sockets, called with the drivers' own requests through an ordinary HTTP client: verdicts,
//! every documented code, every fault, and the control routes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use idgate::domain::clock::{Clock, Ids};
use idgate::domain::id_number::{Calendar, IdNumber};
use idgate::domain::name::Name;
use idgate::domain::outcome::Fault;
use idgate::domain::subject::{PairRules, Subject};
use idgate::domain::verdict::{Finding, Verdict};
use idgate::providers::{Credential, DRIVERS, Driver, Endpoint, Protocol, Stamp};
use idgate::server::sandbox::{People, Sandbox, SandboxHandle, Simulated};
use tokio_util::sync::CancellationToken;

mod answers;
mod control;
mod faults;

const NUMBER: &str = "11010519491231002X";

/// A running sandbox with one provider, and a client for it.
struct World {
    driver: &'static Driver,
    protocol: Arc<dyn Protocol>,
    credential: Credential,
    client: reqwest::Client,
    addresses: Vec<SocketAddr>,
    handle: SandboxHandle,
    sandbox: Sandbox,
    stop: CancellationToken,
}

/// The result of a call.
#[derive(Debug)]
enum Got {
    Answer(Response<Bytes>),
    Broken(reqwest::Error),
}

impl Got {
    fn broken(self) -> reqwest::Error {
        match self {
            Got::Broken(error) => error,
            Got::Answer(answer) => panic!("answered {}", answer.status()),
        }
    }

    fn answer(self) -> Response<Bytes> {
        match self {
            Got::Answer(answer) => answer,
            Got::Broken(error) => panic!("broken: {error:?}"),
        }
    }
}

impl World {
    fn start(driver: &'static Driver) -> Self {
        let simulated = Simulated::of(driver.name, driver, 2).unwrap();
        let (protocol, credential) = (driver.sandbox().unwrap().protocol, simulated.credential.clone());
        let stop = CancellationToken::new();
        let sandbox =
            Sandbox::start(vec![simulated], People::invented(), Verdict::NoRecord, clock(), ids(), stop.clone())
                .unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let (addresses, handle) = (sandbox.addresses(driver.name).to_vec(), sandbox.handle());
        Self { driver, protocol, credential, client, addresses, handle, sandbox, stop }
    }

    /// Starts a sandbox for each driver in turn.
    fn each() -> impl Iterator<Item = Self> {
        DRIVERS.iter().copied().map(Self::start)
    }

    fn request(&self, subject: &Subject, endpoint: usize, credential: &Credential) -> Request<Bytes> {
        let endpoint = Endpoint::parse(&format!("http://{}", self.addresses[endpoint])).unwrap();
        let stamp = Stamp { now: clock().now(), nonce: ids().nonce().to_string() };
        self.protocol.encode_request(subject.into(), &endpoint, credential, &stamp).unwrap()
    }

    async fn send(&self, request: Request<Bytes>) -> Got {
        match self.exchange(request).await {
            Ok(answer) => Got::Answer(answer),
            Err(error) => Got::Broken(error),
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
        let answer = self.client.execute(request.try_into()?).await?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = answer.bytes().await?;
        Ok(response)
    }

    async fn ask(&self, subject: &Subject) -> Got {
        self.send(self.request(subject, 0, &self.credential)).await
    }

    async fn decoded(&self, subject: &Subject) -> Result<Finding, Fault> {
        self.protocol.decode_response(subject.into(), &self.ask(subject).await.answer())
    }

    async fn verdict(&self, subject: &Subject) -> Verdict {
        self.decoded(subject).await.unwrap().verdict
    }

    /// Sets the fault and asks about the first person of the list.
    async fn spoiled(&self, fault: &str) -> Got {
        self.set(fault);
        self.ask(&somebody()).await
    }

    fn set(&self, fault: &str) {
        self.handle.set_fault_json(self.driver.name, fault.as_bytes()).unwrap();
    }

    fn calls(&self) -> u64 {
        self.handle.calls(self.driver.name)
    }
}

fn clock() -> Clock {
    Clock::new(jiff::Timestamp::now)
}

fn ids() -> Ids {
    Ids::new(uuid::Uuid::new_v4, uuid::Uuid::now_v7)
}

fn subject(name: &str, id_number: &str) -> Subject {
    let id_number = IdNumber::parse(id_number, clock().today_in_china(), Calendar::Strict).unwrap();
    Subject::new(Name::parse(name).unwrap(), id_number, PairRules::default()).unwrap()
}

fn somebody() -> Subject {
    subject("张三", NUMBER)
}

/// Waits for a condition that another task brings about.
async fn eventually(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
