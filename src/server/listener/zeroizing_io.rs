//! A stream that wipes request bytes from its read buffer.
//!
//! TLS and HTTP parsers reuse one buffer for request after request, so a name and an ID number would stay in memory for
//! as long as the client keeps its connection. This stream overwrites the free part of the buffer when there is nothing
//! left to read. That covers the last request: the free part either starts where that request started, or it is a new
//! buffer, and the allocator wipes the old one when it is freed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Wraps the stream that hyper reads from, and the one below TLS, which decrypts records in place.
#[derive(Debug)]
pub(super) struct ZeroizingIo<S> {
    stream: S,
    /// Bytes read since the last wipe.
    read: usize,
}

impl<S> ZeroizingIo<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ZeroizingIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if read.is_ready() {
            self.read += into.filled().len() - before;
        } else if self.read > 0 {
            let stale = self.read.min(into.remaining());
            into.initialize_unfilled_to(stale).fill(0);
            self.read = 0;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ZeroizingIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn poll_once<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut [u8]) -> Poll<usize> {
        poll_fn(|cx| {
            let mut into = ReadBuf::new(buffer);
            let read = Pin::new(&mut *stream).poll_read(cx, &mut into);
            Poll::Ready(read.map(|_| into.filled().len()))
        })
        .await
    }

    #[tokio::test]
    async fn what_was_read_is_wiped_when_there_is_nothing_more() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = ZeroizingIo::new(server);
        let mut buffer = [b'-'; 32];
        client.write_all(b"name and number").await.unwrap();
        assert_eq!(poll_once(&mut stream, &mut buffer).await, Poll::Ready(15));
        assert_eq!(&buffer[..16], b"name and number-");
        assert_eq!(poll_once(&mut stream, &mut buffer).await, Poll::Pending);
        assert_eq!(&buffer[..16], b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0-");
        // The wipe is not repeated until more is read.
        buffer.fill(b'-');
        assert_eq!(poll_once(&mut stream, &mut buffer).await, Poll::Pending);
        assert_eq!(buffer, [b'-'; 32]);
    }
}
