//! Encode, send, decode: the only place that talks to a provider.
//!
//! Invariants: one request, one answer. The clients of `client` follow no redirect and retry nothing; only a call whose
//! key was refused, which nobody bills, is sent again here, with another key. A body is read up to a cap. No text of the
//! other side leaves here, least of all the URL, which may hold a person (`reqwest::Error` prints it in `Display` and in
//! `Debug`): errors become a [`Fault`] at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::keys::{self, Keys};
use super::outbound::client::{Client, fault_of};
use crate::domain::clock::{Clock, Ids};
use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::subject::Subject;
use crate::domain::verdict::Finding;
use crate::providers::{Credential, Endpoint, Protocol, Stamp, is_redirect};

/// Providers answer in a few hundred bytes. What is longer than this is not an answer.
const BODY_CAP: usize = 64 * 1024;

/// One endpoint as a place to send questions to.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client,
    endpoint: Endpoint,
    protocol: Arc<dyn Protocol>,
    keys: Arc<Keys>,
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
        keys: Arc<Keys>,
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
        if !answer.as_ref().is_err_and(keys::is_about_the_key) {
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
            .encode_request(subject, &self.endpoint, credential, &stamp)
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
        self.protocol.decode_response(subject, &answer)
    }
}

/// Reads a body up to the cap.
pub(super) async fn read_capped(response: &mut reqwest::Response) -> Result<Bytes, Fault> {
    let Some(first) = response.chunk().await.map_err(fault_of)? else { return Ok(Bytes::new()) };
    let Some(second) = response.chunk().await.map_err(fault_of)? else {
        return if first.len() > BODY_CAP { Err(Fault::unreadable(Reason::TooBig)) } else { Ok(first) };
    };
    let mut body = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if body.len() + chunk.len() > BODY_CAP {
            return Err(Fault::unreadable(Reason::TooBig));
        }
        body.extend_from_slice(&chunk);
        next = response.chunk().await.map_err(fault_of)?;
    }
    Ok(body.freeze())
}
