//! Encodes, sends and decodes: the only place that talks to a provider.
//!
//! Invariants: one request, one answer. The connections follow no redirects and never retry. Only a call whose key was
//! refused is sent again, with another key; no provider bills such a call. Bodies are read up to a cap. No text from
//! the provider and no URL leaves this module: an error becomes a [`Fault`] at once.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::credentials::{self, CredentialStore};
use super::deps::Deps;
use super::outbound::pool::Pool;
use crate::domain::clock::{Clock, Ids};
use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::subject::{DigestKey, Subject};
use crate::domain::verdict::{Finding, RequestId};
use crate::providers::{Credential, Endpoint, Protocol, Stamp, retry_after};

/// Sends questions to one endpoint.
#[derive(Debug)]
pub(super) struct Exchange {
    pool: Pool,
    endpoint: Endpoint,
    protocol: Arc<dyn Protocol>,
    keys: Arc<CredentialStore>,
    waits: Waits,
    clock: Clock,
    ids: Ids,
    /// Seals references that may contain a person.
    digest_key: DigestKey,
}

/// The time limits of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For a credential that is being fetched.
    pub(super) credential: Duration,
    /// For the whole call, including the credential.
    pub(super) call: Duration,
}

impl Exchange {
    pub(super) fn new(
        pool: Pool,
        endpoint: Endpoint,
        protocol: Arc<dyn Protocol>,
        keys: Arc<CredentialStore>,
        waits: Waits,
        deps: &Deps,
    ) -> Self {
        let (clock, ids, digest_key) = (deps.clock.clone(), deps.ids.clone(), deps.digest_key.clone());
        Self { pool, endpoint, protocol, keys, waits, clock, ids, digest_key }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The most that a call may take. Its caller keeps the time, because one timer serves it and the attempt.
    pub(super) fn call_limit(&self) -> Duration {
        self.waits.call
    }

    /// Asks about `subject` and waits for the answer. Dropping it ends the call.
    ///
    /// # Errors
    /// Anything but a documented verdict.
    pub(super) async fn call(self: Arc<Self>, subject: Arc<Subject>) -> Result<Finding, Fault> {
        self.send(&subject).await
    }

    /// Sends the question, and sends it again with another key if the first is refused: a refused call is not billed.
    async fn send(&self, subject: &Subject) -> Result<Finding, Fault> {
        let held = self.keys.held(self.waits.credential).await;
        let held = held.ok_or(Fault::new(Outcome::AccountFault, Reason::NoCredential))?;
        let answer = self.send_with(&held.credential, subject).await;
        if !answer.as_ref().is_err_and(credentials::is_about_the_key) {
            return answer;
        }
        match self.keys.instead_of(&held, self.waits.credential).await {
            Some(other) => self.send_with(&other.credential, subject).await,
            None => answer,
        }
    }

    async fn send_with(&self, credential: &Credential, subject: &Subject) -> Result<Finding, Fault> {
        let stamp = Stamp { now: self.clock.wall(), nonce: self.ids.nonce().to_string() };
        let request = self
            .protocol
            .encode_request(subject.into(), &self.endpoint, credential, &stamp)
            // Nothing was sent, so nothing was billed.
            .map_err(|_| Fault { billed: Billed::No, ..Fault::unreadable(Reason::RequestForm) })?;
        let mut answer = self.pool.send(request).await?;
        // An intermediary that changed the form of a 200 says 203 (RFC 9110, 15.3.4).
        if answer.status() == StatusCode::NON_AUTHORITATIVE_INFORMATION {
            *answer.status_mut() = StatusCode::OK;
        }
        let hint = retry_after(answer.headers(), Some(stamp.now.into()));
        let answer = self.protocol.decode_response(subject.into(), &answer);
        let sealed = |id: Option<RequestId>| id.map(|id| id.sealed(&self.digest_key, subject));
        match answer {
            Ok(finding) => Ok(Finding { request_id: sealed(finding.request_id), ..finding }),
            // Of the driver's own header and the standard one, the longer wait.
            Err(fault) => {
                let retry_after = fault.retry_after.max(hint);
                Err(Fault { retry_after, request_id: sealed(fault.request_id), ..fault })
            }
        }
    }
}
