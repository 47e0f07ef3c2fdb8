//! Reads the body of a request within a size limit and a deadline.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};

use super::code::Code;
use super::problem::{Problem, Refused};

/// Maximum number of bytes read and discarded from an oversized body.
const MOST_DISCARDED: usize = 2 * 1024 * 1024;

/// Reads all of `body`, which may have at most `most` bytes and take at most `timeout`.
///
/// # Errors
/// `payload_too_large`; `malformed_request` if the body ends early; `request_timeout`.
pub(in crate::server) async fn read(mut body: Body, most: usize, timeout: Duration) -> Result<Bytes, Refused> {
    let deadline = Instant::now() + timeout;
    let limited = Limited::new(&mut body, most);
    match timeout_at(deadline, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            // Closing a connection with unread bytes resets it, and the reset may overtake the response. So some of the
            // remaining bytes are read and discarded first.
            let _ = timeout_at(deadline, Limited::new(body, MOST_DISCARDED).collect()).await;
            let detail = format!("is larger than {most} bytes; a question needs a few hundred");
            Err(Box::new(Problem::new(Code::PayloadTooLarge).with_error("", "too_large", &detail)))
        }
        Ok(Err(_)) => {
            let detail = "the body broke off; send all of it";
            Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "incomplete", detail)))
        }
        Err(_) => Err(Box::new(Problem::new(Code::RequestTimeout))),
    }
}
