//! Controls a running sandbox: sets faults and reads call stats.

use std::net::SocketAddr;
use std::sync::Arc;

use super::credential_places::CredentialPlaces;
use super::fault::{Fault, NotSet};
use super::people::People;
use super::simulator::{Scenario, Simulator};
use crate::providers::Credential;

/// Sets faults and reads call stats. Clones control the same sandbox.
///
/// Reading the stats of a provider that is not simulated is a bug in the test: it returns 0, and panics in a debug
/// build.
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

    /// Sets the fault of `provider`, replacing the previous one.
    ///
    /// # Errors
    /// If there is no such provider, it cannot have this fault, or a closed port was lost. The previous fault then
    /// stays set.
    pub fn set_fault(&self, provider: &str, fault: Fault) -> Result<(), NotSet> {
        self.simulator(provider)?.set_fault(Some(fault))
    }

    /// Like [`set_fault`](Self::set_fault), with the JSON that [`Fault::parse`] reads.
    ///
    /// # Errors
    /// If the JSON is not a fault of this provider, and as [`set_fault`](Self::set_fault).
    pub fn set_fault_json(&self, provider: &str, json: &[u8]) -> Result<(), NotSet> {
        let simulator = self.simulator(provider)?;
        let fault = Fault::parse(json, simulator.spec().codes).map_err(NotSet::NotUnderstood)?;
        simulator.set_fault(Some(fault))
    }

    /// Clears the fault of `provider`.
    ///
    /// # Errors
    /// If there is no such provider, or a closed port was lost.
    pub fn clear_fault(&self, provider: &str) -> Result<(), NotSet> {
        self.simulator(provider)?.set_fault(None)
    }

    /// Replaces the credentials that `provider` accepts, as when a key is rotated or revoked.
    ///
    /// # Errors
    /// If there is no such provider.
    pub fn accept(&self, provider: &str, credentials: Vec<Credential>) -> Result<(), NotSet> {
        self.simulator(provider)?.accept(credentials);
        Ok(())
    }

    /// Requests that `provider` has read completely, whatever happened to the answers.
    pub fn calls(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().calls)
    }

    /// Calls about the person with this ID number.
    pub fn calls_of(&self, provider: &str, id_number: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().calls_of(id_number))
    }

    /// Calls that `provider` rejected by its own rules: a bad signature, or a malformed name or ID number.
    pub fn refused(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().refused)
    }

    /// Verdicts that `provider` produced, including those that a fault kept from reaching the client in full.
    pub fn verdicts(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().verdicts)
    }

    /// Verdicts that the price list charges for. This is an upper bound of the bill, because it is unknown whether a
    /// real provider charges for an answer that did not arrive.
    pub fn billed(&self, provider: &str) -> u64 {
        self.count(provider, |simulator| simulator.call_stats().billed)
    }

    /// The services that issue temporary credentials.
    pub fn issuer(&self) -> &CredentialPlaces {
        &self.issuer
    }

    pub(super) fn people(&self) -> &People {
        &self.scenario.people
    }

    /// The addresses of `provider`, one per endpoint; empty if it is not simulated.
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
