//! Encode, send, decode: the only place that talks to a provider.
//!
//! Invariants: one request, one answer. No redirect is followed, nothing is retried, a body is read up to a cap. No text
//! of the other side leaves here, least of all the URL, which may hold a person: errors become a [`Fault`] at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;

use super::client::Client;
use crate::domain::clock::{Clock, Ids};
use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::subject::Subject;
use crate::domain::verdict::Finding;
use crate::providers::{Configured, Endpoint, Stamp, is_redirect};

/// Providers answer in a few hundred bytes. What is longer than this is not an answer.
const BODY_CAP: usize = 64 * 1024;

/// One endpoint as a place to send questions to.
#[derive(Debug)]
pub(super) struct Exchange {
    client: Client,
    endpoint: Endpoint,
    driver: Configured,
    call_limit: Duration,
    clock: Clock,
    ids: Ids,
}

impl Exchange {
    pub(super) fn new(
        client: Client,
        endpoint: Endpoint,
        driver: Configured,
        call_limit: Duration,
        clock: Clock,
        ids: Ids,
    ) -> Self {
        Self { client, endpoint, driver, call_limit, clock, ids }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks about `subject` and waits for the answer up to the call limit.
    ///
    /// # Errors
    /// Whatever is not a documented verdict.
    pub(super) async fn call(self: Arc<Self>, subject: Arc<Subject>) -> Result<Finding, Fault> {
        match tokio::time::timeout(self.call_limit, self.send(&subject)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::new(Outcome::Timeout, Reason::Unspecified)),
        }
    }

    async fn send(&self, subject: &Subject) -> Result<Finding, Fault> {
        let stamp = Stamp { now: self.clock.now(), nonce: self.ids.nonce().to_string() };
        let mut request = self
            .driver
            .protocol
            .encode_request(subject, &self.endpoint, &self.driver.credential, &stamp)
            // Nothing was sent, so nothing was billed.
            .map_err(|_| Fault { billed: Billed::No, ..Fault::unreadable(Reason::RequestForm) })?;
        // Answers are too short to gain by compression, and what we do not unpack cannot be a bomb.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let (head, body) = self.client.send(request).await.map_err(fault_of)?.into_parts();
        if is_redirect(head.status) {
            return Err(Fault::unreadable(Reason::Redirect));
        }
        let answer = http::Response::from_parts(head, read_capped(body).await?);
        self.driver.protocol.decode_response(subject, &answer)
    }
}

async fn read_capped(body: Incoming) -> Result<Bytes, Fault> {
    match Limited::new(body, BODY_CAP).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Fault::unreadable(Reason::TooBig)),
        Err(_) => Err(Fault::new(Outcome::Interrupted, Reason::Unspecified)),
    }
}

/// The one conversion point of client errors. Only a failed connection is certain to have sent nothing.
fn fault_of(error: legacy::Error) -> Fault {
    let outcome = if error.is_connect() { Outcome::Unreachable } else { Outcome::Interrupted };
    Fault::new(outcome, Reason::Unspecified)
}
