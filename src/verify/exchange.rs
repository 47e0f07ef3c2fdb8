//! Encode, send, decode: the only place that talks to a provider.
//!
//! Invariants: one request, one answer. The clients of `client` follow no redirect and retry nothing; only a call whose
//! key was refused, which nobody bills, is sent again here, with another key. A body is read up to a cap. No text of
//! the other side leaves here, least of all the URL, which may hold a person (`reqwest::Error` prints it in `Display`
//! and in `Debug`): errors become a [`Fault`] at once.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::{self, CredentialStore};
use super::outbound::client::{Client, read_capped};
use crate::domain::clock::{Clock, Ids};
use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::subject::Subject;
use crate::domain::verdict::Finding;
use crate::providers::{Credential, Endpoint, Protocol, Stamp, is_redirect};

/// One endpoint as a place to send questions to.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client,
    endpoint: Endpoint,
    protocol: Arc<dyn Protocol>,
    keys: Arc<CredentialStore>,
    waits: Waits,
    clock: Clock,
    ids: Ids,
}

/// How long a call waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For a credential that is being fetched.
    pub(super) credential: Duration,
    /// For everything.
    pub(super) call: Duration,
}

impl Exchange {
    pub(super) fn new(
        client: Client,
        endpoint: Endpoint,
        protocol: Arc<dyn Protocol>,
        keys: Arc<CredentialStore>,
        waits: Waits,
        clock: Clock,
        ids: Ids,
    ) -> Self {
        Self { client, endpoint, protocol, keys, waits, clock, ids }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks about `subject` and waits for the answer up to the call limit.
    ///
    /// # Errors
    /// Whatever is not a documented verdict.
    pub(super) async fn call(self: Arc<Self>, subject: Arc<Subject>) -> Result<Finding, Fault> {
        match tokio::time::timeout(self.waits.call, self.send(&subject)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::new(Outcome::Timeout, Reason::Unspecified)),
        }
    }

    /// Sends, and once more with the other key if the first is not known: such a call is not billed.
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
        let stamp = Stamp { now: self.clock.now(), nonce: self.ids.nonce().to_string() };
        let request = self
            .protocol
            .encode_request(subject.into(), &self.endpoint, credential, &stamp)
            .ok()
            .and_then(|request| reqwest::Request::try_from(request).ok())
            // Nothing was sent, so nothing was billed.
            .ok_or(Fault { billed: Billed::No, ..Fault::unreadable(Reason::RequestForm) })?;
        let mut response = self.client.send(request).await?;
        if is_redirect(response.status()) {
            return Err(Fault::unreadable(Reason::Redirect));
        }
        let body = read_capped(&mut response).await?;
        let mut answer = http::Response::new(body);
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        self.protocol.decode_response(subject.into(), &answer)
    }
}
