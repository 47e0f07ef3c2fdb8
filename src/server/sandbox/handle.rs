//! The remote control of a running sandbox: set faults, read counters.

use std::net::SocketAddr;
use std::sync::Arc;

use super::credential_places::CredentialPlaces;
use super::fault::{Fault, NotSet};
use super::people::People;
use super::simulator::{Scenario, Simulator};
use crate::providers::Credential;

/// Sets faults and reads counters; clones control the same sandbox.
///
/// Counting for a provider that is not simulated is a mistake of the test that does it: the count is 0, and a debug
/// build stops.
#[derive(Debug, Clone)]
pub struct SandboxHandle {
    simulators: Arc<[Arc<Simulator>]>,
    scenario: Arc<Scenario>,
    issuer: Arc<CredentialPlaces>,
}

impl SandboxHandle {
    pub(super) fn new(
        simulators: Arc<[Arc<Simulator>]>,
        scenario: Arc<Scenario>,
        issuer: Arc<CredentialPlaces>,
    ) -> Self {
        Self { simulators, scenario, issuer }
    }

    /// Spoils the answers of `provider`, instead of whatever spoilt them before.
    ///
    /// # Errors
    /// When there is no such provider, or it cannot fail like that, or a closed port is lost; the fault before stays.
    pub fn set_fault(&self, provider: &str, fault: Fault) -> Result<(), NotSet> {
        self.simulator(provider)?.set_fault(Some(fault))
    }

    /// The same for a fault as people type it, see [`Fault::parse`].
    ///
    /// # Errors
    /// When the JSON is not a fault of this provider, and as [`set_fault`](Self::set_fault).
    pub fn set_fault_json(&self, provider: &str, json: &[u8]) -> Result<(), NotSet> {
        let simulator = self.simulator(provider)?;
        let fault = Fault::parse(json, simulator.spec().codes).map_err(NotSet::NotUnderstood)?;
        simulator.set_fault(Some(fault))
    }

    /// Lets `provider` answer rightly again.
    ///
    /// # Errors
    /// When there is no such provider, or a closed port is lost.
    pub fn clear_fault(&self, provider: &str) -> Result<(), NotSet> {
        self.simulator(provider)?.set_fault(None)
    }

    /// Lets `provider` take the requests of these credentials from now on, and of no other: a key is replaced, or ends.
    ///
    /// # Errors
    /// When there is no such provider.
    pub fn accept(&self, provider: &str, credentials: Vec<Credential>) -> Result<(), NotSet> {
        self.simulator(provider)?.accept(credentials);
        Ok(())
    }

    /// How many requests `provider` read completely, whatever became of the answers.
    pub fn calls(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().calls)
    }

    /// How many of the calls were about the person with this number.
    pub fn calls_of(&self, provider: &str, id_number: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().calls_of(id_number))
    }

    /// How many of the calls `provider` refused by its own rules: wrongly signed, or a pair of the wrong form.
    pub fn refused(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().refused)
    }

    /// How many verdicts `provider` worked out, those included that a fault kept from arriving whole.
    pub fn verdicts(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().verdicts)
    }

    /// How many of the verdicts its price list charges for: the bill at its worst, since nobody can tell whether a
    /// real provider charges for an answer that did not arrive.
    pub fn billed(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().billed)
    }

    /// The places that hand out temporary keys.
    pub fn issuer(&self) -> &CredentialPlaces {
        &self.issuer
    }

    pub(super) fn people(&self) -> &People {
        &self.scenario.people
    }

    /// Where `provider` listens, in the order of its endpoints; empty if it is not simulated.
    pub fn addresses(&self, provider: &str) -> &[SocketAddr] {
        self.simulators.iter().find(|simulator| simulator.spec().provider == provider).map_or(&[], |it| it.addresses())
    }

    pub(super) fn simulator(&self, provider: &str) -> Result<&Simulator, NotSet> {
        let found = self.simulators.iter().find(|simulator| simulator.spec().provider == provider);
        found.map(Arc::as_ref).ok_or_else(|| {
            let names: Vec<_> = self.simulators.iter().map(|simulator| simulator.spec().provider.as_str()).collect();
            NotSet::NoProvider(names.join(", "))
        })
    }

    fn count(&self, provider: &str, read: impl FnOnce(&Simulator) -> u64) -> u64 {
        let simulator = self.simulator(provider);
        debug_assert!(simulator.is_ok(), "the sandbox does not simulate {provider}");
        simulator.map_or(0, read)
    }
}
