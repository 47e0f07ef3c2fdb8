//! A body for the parser's own refusals.
//!
//! hyper answers a head that it cannot parse by itself, with a status and without a body, before any service sees a
//! request. This stream sends a problem document instead. Such an answer is recognised by what it lacks: every answer of
//! the service has a request id.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The rest of each answer after its status line, and its body.
macro_rules! refusal {
    ($status:literal, $reason:literal, $length:literal, $body:expr) => {
        concat!(
            "HTTP/1.1 ",
            $status,
            " ",
            $reason,
            "\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\nconnection: close\r\n",
            "x-request-id: none\r\ncontent-length: ",
            $length,
            "\r\n\r\n",
            $body
        )
    };
}

const MALFORMED: &str = refusal!(
    "400",
    "Bad Request",
    "284",
    concat!(
        r#"{"type":"urn:idgate:problem:malformed_request","title":"The request cannot be read","status":400,"#,
        r#""detail":"This is not an HTTP request: its first line or a header breaks RFC 9112. Nothing was called, "#,
        r#"nothing was paid.","code":"malformed_request","request_id":"none","retryable":false}"#
    )
);

const TOO_LARGE: &str = refusal!(
    "431",
    "Request Header Fields Too Large",
    "245",
    concat!(
        r#"{"type":"urn:idgate:problem:headers_too_large","title":"A request header is too large","status":431,"#,
        r#""detail":"Send fewer or shorter headers. Nothing was called, nothing was paid.","#,
        r#""code":"headers_too_large","request_id":"none","retryable":false}"#
    )
);

/// A stream that adds a problem document to the parser's refusals.
#[derive(Debug)]
pub(super) struct BareRefusal<S> {
    stream: S,
    /// What is still to be sent instead of a refusal.
    instead: Option<&'static [u8]>,
}

impl<S> BareRefusal<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, instead: None }
    }
}

/// What to send instead of `bytes`, if they are a refusal of the parser.
fn instead(bytes: &[u8]) -> Option<&'static [u8]> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let document = match rest.get(..2)? {
        b"00" => MALFORMED,
        b"31" | b"14" => TOO_LARGE,
        _ => return None,
    };
    let is_whole = bytes.ends_with(b"\r\n\r\n");
    let is_bare =
        memmem::find(bytes, b"content-length: 0\r\n").is_some() && memmem::find(bytes, b"x-request-id").is_none();
    (is_whole && is_bare).then_some(document.as_bytes())
}

impl<S: AsyncWrite + Unpin> BareRefusal<S> {
    /// Writes the document in place of the refusal `bytes`; `None` if they are none.
    fn poll_instead(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Option<Poll<io::Result<usize>>> {
        if self.instead.is_none() {
            self.instead = Some(instead(bytes)?);
        }
        Some(self.poll_document(cx).map_ok(|()| bytes.len()))
    }

    fn poll_document(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.instead.filter(|left| !left.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, left))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead = left.get(written..);
        }
        self.instead = None;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BareRefusal<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BareRefusal<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.poll_instead(cx, bytes) {
            Some(written) => written,
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.first().map(|first| &**first).unwrap_or_default();
        match self.poll_instead(cx, first) {
            Some(written) => written,
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_document_is_as_long_as_it_says_and_has_its_code() {
        for (answer, code) in [(MALFORMED, "malformed_request"), (TOO_LARGE, "headers_too_large")] {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["code"], code);
        }
    }

    #[test]
    fn an_answer_of_the_service_is_left_alone() {
        let bare = |head: &str| instead(head.as_bytes()).is_some();
        assert!(bare("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n"));
        assert!(!bare("HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n"));
        assert!(!bare("HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 3\r\n\r\n{}\n"));
        assert!(!bare("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    }
}
