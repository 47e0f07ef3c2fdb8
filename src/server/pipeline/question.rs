//! The second step: from an admitted request to a question. Purpose, ledger entry, rights and local rules, in this
//! order.

use std::sync::Arc;
use std::time::Duration;

use super::local_rules;
use super::state::Pipeline;
use crate::domain::subject::Subject;
use crate::server::audit::AuditEntry;
use crate::server::auth::client::{Caller, Client};
use crate::server::auth::client_config::DEFAULT_PURPOSE;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::problem::Refused;
use crate::server::http::request_scope::RequestScope;
use crate::server::snapshot::Snapshot;
use crate::verify::{Avoided, Freshness, JoinedFlight, Question, Recall, Ticket};

/// The client of a question that this very process asks.
const LOCAL: &str = "local";

/// What a request's headers ask for beside an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct RequestOptions {
    /// How old the answer may be.
    pub(in crate::server) freshness: Freshness,
    /// How long the caller waits, if it says so.
    pub(in crate::server) patience: Option<Duration>,
}

/// Makes a question of what `client` asks. It is not counted against the client's day yet, since an edge may still
/// refuse it.
///
/// # Errors
/// `forbidden`, with the right that the client lacks, or the local rule that name and number break.
pub(in crate::server) fn build_question(
    pipeline: &Pipeline,
    now: &Snapshot,
    client: &Client,
    body: &VerifyBody,
    options: RequestOptions,
    scope: &mut RequestScope,
) -> Result<Question, Refused> {
    scope.has_reference(body.reference.as_deref());
    let purpose = client.purpose(body.purpose.as_deref())?;
    let key_id = scope.caller().map(Caller::shown).unwrap_or_default();
    let ticket = ticket(pipeline, now, key_id, body.reference.clone());
    scope.is_question(&purpose, AuditEntry::open(&pipeline.ledger, &ticket, &client.name, &purpose));
    let freshness = client.rights.freshness(options.freshness)?;
    client.rights.person(body.wants_person())?;
    let subject = checked(pipeline, now, body, scope)?;
    let granted = options.patience.map(|wait| wait.min(now.limits.request_timeout));
    scope.is_granted_wait(granted);
    Ok(Question {
        subject: Arc::new(subject),
        client: Arc::clone(&client.name),
        purpose,
        freshness,
        patience: granted.unwrap_or(now.limits.request_timeout),
        for_replicas: pipeline.shared.patience(),
        ticket,
        recall: recall(scope),
    })
}

/// Makes a question that this very process asks: under no client's rate and rights, for the default purpose.
///
/// # Errors
/// The local rule that name and number break.
pub(in crate::server) fn build_local_question(
    pipeline: &Pipeline,
    now: &Snapshot,
    body: &VerifyBody,
    scope: &mut RequestScope,
) -> Result<Question, Refused> {
    let (client, purpose) = (Arc::from(LOCAL), Arc::from(DEFAULT_PURPOSE));
    let ticket = ticket(pipeline, now, Arc::default(), None);
    scope.is_question(&purpose, AuditEntry::open(&pipeline.ledger, &ticket, &client, &purpose));
    let subject = Arc::new(checked(pipeline, now, body, scope)?);
    let (freshness, patience) = (Freshness::default(), now.limits.request_timeout);
    let for_replicas = pipeline.shared.patience();
    Ok(Question { subject, client, purpose, freshness, patience, for_replicas, ticket, recall: recall(scope) })
}

fn recall(scope: &mut RequestScope) -> Recall {
    if scope.trace().is_some() { Recall::traced() } else { Recall::default() }
}

fn ticket(pipeline: &Pipeline, now: &Snapshot, key_id: Arc<str>, reference: Option<String>) -> Ticket {
    let joined = if pipeline.ledger.is_on() { JoinedFlight::recorded() } else { JoinedFlight::default() };
    Ticket { id: pipeline.ids.ordered(), key_id, reference, configuration: Arc::clone(&now.version), joined }
}

fn checked(
    pipeline: &Pipeline,
    now: &Snapshot,
    body: &VerifyBody,
    scope: &mut RequestScope,
) -> Result<Subject, Refused> {
    let today = pipeline.clock.today_in_china();
    let checked = local_rules::subject(now.rules, today, &body.name, &body.id_number);
    let subject = checked.inspect_err(|_| pipeline.verify_metrics.avoided(Avoided::InvalidInput))?;
    scope.is_about(&subject);
    if let Some(audit) = scope.audit() {
        audit.is_about(pipeline.in_ledger(&pipeline.digest_key.person(&subject)));
    }
    Ok(subject)
}
