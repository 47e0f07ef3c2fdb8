//! Provider simulators on loopback sockets. Each speaks its provider's own protocol and answers from a list of
//! synthetic people.
//!
//! One generic implementation over [`Service`](crate::providers::Service) simulates every provider: it decodes the
//! request, checks the signature, looks the person up in [`People`], encodes the answer, and corrupts it if a [`Fault`]
//! is set. No provider is known by name.
//!
//! It binds loopback addresses only. A request with a bad signature is rejected as the provider would reject it,
//! whatever fault is set. A call is counted as soon as its request has been read, whatever happens to the answer.
//!
//! A new provider needs only its driver. A new fault needs a variant in `fault.rs` and an arm in `simulator.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::{Clock, Ids};
use crate::domain::verdict::Verdict;

mod call_stats;
mod control;
mod corrupt;
mod credential_places;
mod fault;
mod handle;
mod mock_listener;
mod people;
mod simulator;

pub use self::control::router;
pub use self::credential_places::{CredentialPlaces, PlaceFault, WrongDocument};
pub use self::fault::{Fault, Kind, NotSet};
pub use self::handle::SandboxHandle;
pub use self::people::{People, Person};
pub use self::simulator::Simulated;

use self::mock_listener::Host;
use self::simulator::{Scenario, Simulator};

/// The running simulators. They stop when the stop token is cancelled or this is dropped.
#[derive(Debug)]
pub struct Sandbox {
    handle: SandboxHandle,
    tasks: JoinSet<()>,
}

impl Sandbox {
    /// Starts a simulator for each of `specs` on free loopback ports. `default` is the verdict for ID numbers that are
    /// not in `people`. `clock` is the time for signature checks; `ids` generates the references in answers and the
    /// temporary credentials.
    ///
    /// # Errors
    /// If a loopback port cannot be bound.
    pub fn start(
        specs: Vec<Simulated>,
        people: People,
        default: Verdict,
        clock: Clock,
        ids: Ids,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let scenario = Arc::new(Scenario { people, default, clock, ids });
        let mut tasks = JoinSet::new();
        let mut simulators = Vec::with_capacity(specs.len());
        for spec in specs {
            let simulator = Arc::new(Simulator::bind(spec, scenario.clone())?);
            for endpoint in 0..simulator.listeners().len() {
                tasks.spawn(mock_listener::serve(simulator.clone(), endpoint, stop.clone()));
            }
            simulators.push(simulator);
        }
        let simulators: Arc<[_]> = simulators.into();
        let places = Arc::new(CredentialPlaces::bind(Arc::clone(&simulators), scenario.clone())?);
        for place in 0..places.listeners().len() {
            tasks.spawn(mock_listener::serve(places.clone(), place, stop.clone()));
        }
        Ok(Self { handle: SandboxHandle::new(simulators, scenario, places), tasks })
    }

    /// The addresses of `provider`, one per endpoint; empty if it is not simulated.
    pub fn addresses(&self, provider: &str) -> &[SocketAddr] {
        self.handle.addresses(provider)
    }

    /// A handle that sets faults and reads call stats.
    pub fn handle(&self) -> SandboxHandle {
        self.handle.clone()
    }

    /// Waits until every socket is closed. Call it after a stop.
    pub async fn closed(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
