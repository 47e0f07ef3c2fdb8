//! Reads the body of a request within a size limit and a deadline.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::code::Code;
use super::problem::{Problem, Refused};

/// Maximum number of bytes read and discarded from an oversized body.
const MOST_DISCARDED: usize = 2 * 1024 * 1024;

/// Why a body cannot be had as a whole.
enum Broken {
    TooLarge,
    Off,
}

/// Reads all of `body`, which may have at most `most` bytes and take at most `timeout`.
///
/// # Errors
/// `payload_too_large`; `malformed_request` if the body ends early; `request_timeout`.
pub(in crate::server) async fn read<B>(mut body: B, most: usize, timeout: Duration) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (read, deadline) = {
        let mut reading = pin!(whole(&mut body, most));
        tokio::select! {
            biased;
            read = reading.as_mut() => (read, None),
            // Nearly every body has come with its head, and needs no timer.
            () = std::future::ready(()) => {
                let deadline = Instant::now() + timeout;
                let read = timeout_at(deadline, reading).await;
                (read.map_err(|_| Box::new(Problem::new(Code::RequestTimeout)))?, Some(deadline))
            }
        }
    };
    match read {
        Ok(whole) => Ok(whole),
        Err(Broken::TooLarge) => {
            // Closing a connection with unread bytes resets it, and the reset may overtake the response. So some of the
            // remaining bytes are read and discarded first.
            let deadline = deadline.unwrap_or_else(|| Instant::now() + timeout);
            let _ = timeout_at(deadline, Limited::new(body, MOST_DISCARDED).collect()).await;
            let detail = format!("is larger than {most} bytes; a question needs a few hundred");
            Err(Box::new(Problem::new(Code::PayloadTooLarge).with_error("", "too_large", &detail)))
        }
        Err(Broken::Off) => {
            let detail = "the body broke off; send all of it";
            Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "incomplete", detail)))
        }
    }
}

/// All bytes of `body`. Those of a body in one piece are not copied.
async fn whole<B: Body<Data = Bytes> + Unpin>(body: &mut B, most: usize) -> Result<Bytes, Broken> {
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while !body.is_end_stream()
        && let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
    {
        // What is no data is a trailer.
        let Ok(data) = frame.map_err(|_| Broken::Off)?.into_data() else { continue };
        if data.len() > most - first.len() - more.len() {
            return Err(Broken::TooLarge);
        }
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&first);
            more.extend_from_slice(&data);
            first = Bytes::new();
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}
