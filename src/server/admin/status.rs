//! `GET /v1/status`: the state of every provider and endpoint.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::Admin;
use crate::providers::source::Miss;
use crate::storage::shared;
use crate::verify::{CredentialStatus, EndpointStatus, Isolated, ProviderStatus, Unavailable};

/// Everything that answers "why is this provider out?".
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// `ready` or `draining`.
    #[schema(example = "ready")]
    status: &'static str,
    /// The version of this build.
    version: &'static str,
    /// Questions being worked on.
    flights: usize,
    /// What was restored from the ledger after the start.
    restored: RestoredDocument,
    /// The ledger; null without `ledger.file`.
    ledger: Option<LedgerDocument>,
    /// What replicas share; null without `[shared]`.
    shared: Option<SharedDocument>,
    /// The providers that have a section.
    providers: Vec<ProviderDocument>,
}

/// What this process has restored of what the one before it had paid for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestoredDocument {
    /// `off` (no ledger), `running`, `looking_up` (each question, because more is recorded than
    /// is read at once) or `done`.
    #[schema(example = "done")]
    state: &'static str,
    /// Remembered verdicts that were restored.
    verdicts: u64,
}

/// The ledger as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerDocument {
    /// Whether paid calls are made: what they bring can be written.
    available: bool,
    /// Why not: `name_taken` (another process has the name of this replica), `files_moved` (or deleted, replaced, given a
    /// second name), `not_writable` or `journal_not_writable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "files_moved")]
    unavailable_reason: Option<&'static str>,
    /// Whether PostgreSQL answers; missing if the record is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    postgres: Option<bool>,
    /// Entries in the spool that the database does not have yet.
    behind: u64,
    /// For how long the oldest of them has waited.
    oldest_unmoved_seconds: f64,
    /// Bytes of entries in the spool.
    spool_bytes: u64,
}

/// The shared Redis and the replicas.
#[derive(Debug, Serialize, ToSchema)]
pub struct SharedDocument {
    /// `up`, or `away`: then every limit is a local one.
    #[schema(example = "up")]
    state: &'static str,
    /// For how long.
    since_seconds: f64,
    replicas: Vec<ReplicaDocument>,
    /// The sections of the configuration in which another replica differs from this one.
    differs: Vec<String>,
}

/// A replica, as it says of itself each second.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplicaDocument {
    #[schema(example = "idgate-0")]
    name: String,
    version: String,
    /// The version of its configuration.
    configuration: String,
    /// `live`, or `silent` for more than 5 seconds.
    #[schema(example = "live")]
    state: &'static str,
    /// Whether it is the one that answers.
    own: bool,
}

/// One provider as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderDocument {
    name: String,
    driver: &'static str,
    /// Whether it could be asked now.
    available: bool,
    /// Why not: `isolated`, `account_fault`, `paused` (it asked us to) or `breakers_open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "paused")]
    unavailable_reason: Option<&'static str>,
    /// Whether an operator has set it aside.
    isolated: bool,
    /// Who did, why and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    isolation: Option<IsolationDocument>,
    /// The account fault that sets it aside.
    account_fault: Option<AccountFaultDocument>,
    /// Its fetched credential; null where the configuration has it.
    credential: Option<CredentialDocument>,
    /// Seconds for which it asked us to pause.
    paused_seconds: Option<f64>,
    /// Calls in flight.
    in_flight: usize,
    /// Persons held off it.
    holds: usize,
    endpoints: Vec<EndpointDocument>,
}

/// Who has isolated a provider, and until when.
#[derive(Debug, Serialize, ToSchema)]
pub struct IsolationDocument {
    /// The operator's name.
    by: String,
    reason: Option<String>,
    /// RFC 3339, in UTC.
    since: String,
    /// When it ends by itself; null if it has to be restored.
    until: Option<String>,
}

/// An account fault as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountFaultDocument {
    /// What is wrong, such as `arrears` or `key_refused`.
    reason: &'static str,
    since_seconds: f64,
    /// Seconds until the next trial.
    retry_after_seconds: f64,
}

/// A fetched credential as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct CredentialDocument {
    /// Where it comes from, as configured.
    #[schema(example = "default_chain")]
    source: &'static str,
    /// Which of several sources gave the one in use.
    from: Option<&'static str>,
    /// Seconds for which the one in use is still good; null if there is none, or it does not end.
    expires_in_seconds: Option<f64>,
    /// Why the last fetch gave nothing; empty if it gave something.
    failures: Vec<MissDocument>,
}

/// A source that gave no credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissDocument {
    source: &'static str,
    /// Such as `unreachable`, `not_success` or `missing_field`.
    reason: &'static str,
    /// The documented code with which it refused.
    code: Option<&'static str>,
}

/// One endpoint's breaker as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointDocument {
    endpoint: String,
    /// `closed` (flowing), `half_open` (probing) or `open` (refusing).
    #[schema(example = "closed")]
    breaker: &'static str,
    since_seconds: f64,
    /// Why it left the closed state.
    reason: Option<&'static str>,
    /// Seconds until it lets the next call through.
    retry_after_seconds: Option<f64>,
    /// The last fault that its breaker counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fault: Option<LastFaultDocument>,
}

/// A fault that an endpoint's breaker counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastFaultDocument {
    /// What the attempt came to, such as `unreachable`.
    outcome: &'static str,
    /// The finer cause, such as `certificate_refused` or `pin_mismatch`, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Seconds ago.
    since_seconds: f64,
}

/// Why is this provider out? Breakers, account faults, holds, calls in flight.
#[utoipa::path(get, path = "/v1/status", tag = "operate", responses((status = 200, description = "Now", body = Status)))]
pub(in crate::server) async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    let live = &admin.current.load().runtime;
    let (state, verdicts) = live.warming();
    Json(Status {
        status: admin.word(),
        version: env!("CARGO_PKG_VERSION"),
        flights: live.flights(),
        restored: RestoredDocument { state: state.into(), verdicts },
        ledger: admin.ledger.backlog().map(|backlog| {
            let reason = admin.ledger.unavailable_reason();
            LedgerDocument {
                available: reason.is_none(),
                unavailable_reason: reason.map(Into::into),
                postgres: backlog.postgres,
                behind: backlog.entries,
                oldest_unmoved_seconds: seconds(backlog.oldest),
                spool_bytes: backlog.spool_bytes,
            }
        }),
        shared: admin.shared.state().map(SharedDocument::from),
        providers: live.status().iter().map(ProviderDocument::from).collect(),
    })
}

impl From<&ProviderStatus> for ProviderDocument {
    fn from(status: &ProviderStatus) -> Self {
        Self {
            name: status.name.to_string(),
            driver: status.driver,
            available: status.unavailable.is_none(),
            unavailable_reason: status.unavailable.map(Unavailable::as_str),
            isolated: status.isolated.is_some(),
            isolation: status.isolated.as_ref().map(IsolationDocument::from),
            account_fault: status.account_fault.map(|fault| AccountFaultDocument {
                reason: fault.reason.as_str(),
                since_seconds: seconds(fault.since),
                retry_after_seconds: seconds(fault.retry_after),
            }),
            credential: status.credential.as_ref().map(CredentialDocument::from),
            paused_seconds: status.paused_for.map(seconds),
            in_flight: status.in_flight,
            holds: status.holds,
            endpoints: status.endpoints.iter().map(EndpointDocument::from).collect(),
        }
    }
}

impl From<shared::State> for SharedDocument {
    fn from(state: shared::State) -> Self {
        let replica = |member: shared::Member| ReplicaDocument {
            name: member.name,
            version: member.version,
            configuration: member.configuration,
            state: if member.is_silent { "silent" } else { "live" },
            own: member.is_self,
        };
        Self {
            state: if state.is_up { "up" } else { "away" },
            since_seconds: seconds(state.since),
            replicas: state.members.into_iter().map(replica).collect(),
            differs: state.differ,
        }
    }
}

impl From<&Isolated> for IsolationDocument {
    fn from(isolated: &Isolated) -> Self {
        Self {
            by: isolated.by.to_string(),
            reason: isolated.reason.as_deref().map(str::to_owned),
            since: format!("{:.0}", isolated.since),
            until: isolated.until.map(|until| format!("{until:.0}")),
        }
    }
}

impl From<&CredentialStatus> for CredentialDocument {
    fn from(status: &CredentialStatus) -> Self {
        let miss = |miss: &Miss| MissDocument { source: miss.source, reason: miss.reason.as_str(), code: miss.code };
        Self {
            source: status.source,
            from: status.from,
            expires_in_seconds: status.expires_in.map(seconds),
            failures: status.misses.iter().map(miss).collect(),
        }
    }
}

impl From<&EndpointStatus> for EndpointDocument {
    fn from(status: &EndpointStatus) -> Self {
        Self {
            endpoint: status.endpoint.to_string(),
            breaker: status.state.as_str(),
            since_seconds: seconds(status.since),
            reason: status.reason.map(|reason| reason.as_str()),
            retry_after_seconds: status.retry_after.map(seconds),
            last_fault: status.last_fault.map(|fault| LastFaultDocument {
                outcome: fault.outcome.as_str(),
                reason: fault.reason.is_specific().then(|| fault.reason.as_str()),
                since_seconds: seconds(fault.since),
            }),
        }
    }
}

/// Seconds, rounded to the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
