//! Notices that a client hangs up while its request is being answered.
//!
//! hyper could do this, but it would take a new read buffer of 8 KiB for each request, because the one under way still
//! uses the old buffer, and that would be wiped as a whole. So hyper reads nothing while a request is under way
//! (`half_close`), and a few bytes are read ahead here instead.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::Zeroize;

use super::life::Life;

/// A stream that fails when its client hangs up during a request.
#[derive(Debug)]
pub(super) struct HangUp<S> {
    stream: S,
    life: Arc<Life>,
    /// What has been read ahead: the beginning of the next request.
    ahead: [u8; 32],
    length: usize,
    /// Whether the reader waits for bytes, and so will see the end by itself.
    is_awaited: bool,
    /// Whether the end was read ahead, and the reader has not seen it yet.
    has_ended: bool,
}

impl<S> HangUp<S> {
    pub(super) fn new(stream: S, life: Arc<Life>) -> Self {
        Self { stream, life, ahead: Default::default(), length: 0, is_awaited: false, has_ended: false }
    }
}

impl<S: AsyncRead + Unpin> HangUp<S> {
    /// Looks for the end of the stream. hyper flushes whenever it has worked on a request.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.is_awaited || self.length > 0 || !self.life.is_busy() {
            return Ok(());
        }
        if self.has_ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut ahead = ReadBuf::new(&mut self.ahead);
        match Pin::new(&mut self.stream).poll_read(cx, &mut ahead) {
            Poll::Ready(Ok(())) => {
                self.length = ahead.filled().len();
                if self.length == 0 {
                    // The reader gets the chance to see it, because it may have a body to read.
                    self.has_ended = true;
                    cx.waker().wake_by_ref();
                }
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HangUp<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.has_ended = false;
        if self.length > 0 {
            let length = self.length.min(into.remaining());
            let (now, _) = self.ahead.split_at(length);
            into.put_slice(now);
            self.ahead.rotate_left(length);
            self.length -= length;
            let left = self.length;
            self.ahead.iter_mut().skip(left).for_each(Zeroize::zeroize);
            // What follows is read with it, or a long body would be read in pieces of this size.
            return match Pin::new(&mut self.stream).poll_read(cx, into) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
            };
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        self.is_awaited = read.is_pending();
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HangUp<S> {
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
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(self.look_ahead(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::super::life::UnderWay;
    use super::*;

    fn stream() -> (DuplexStream, HangUp<DuplexStream>, Arc<Life>) {
        let life = Arc::<Life>::default();
        let (client, server) = duplex(256);
        (client, HangUp::new(server, Arc::clone(&life)), life)
    }

    async fn flush(stream: &mut HangUp<DuplexStream>) -> Poll<bool> {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_flush(cx).map(|flushed| flushed.is_ok()))).await
    }

    #[tokio::test]
    async fn an_end_during_a_request_is_an_error_unless_the_reader_sees_it() {
        let (client, mut stream, life) = stream();
        let request = UnderWay::begin(&life);
        assert_eq!(flush(&mut stream).await, Poll::Ready(true));
        drop(client);
        assert_eq!(flush(&mut stream).await, Poll::Ready(true), "the reader may have a body to read");
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(flush(&mut stream).await, Poll::Ready(true));
        assert_eq!(flush(&mut stream).await, Poll::Ready(false));
        drop(request);
        assert_eq!(flush(&mut stream).await, Poll::Ready(true), "between requests an end is no error");
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_read_first_and_not_kept() {
        let (mut client, mut stream, life) = stream();
        let text: Vec<u8> = (1..=100).collect();
        client.write_all(&text).await.unwrap();
        let _request = UnderWay::begin(&life);
        for _ in 0..3 {
            assert_eq!(flush(&mut stream).await, Poll::Ready(true));
            assert_eq!(stream.length, stream.ahead.len());
        }
        let mut read = vec![0; 5];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&stream.ahead[..27], &text[5..32]);
        assert_eq!(stream.ahead[27..], [0; 5]);
        read.resize(100, 0);
        stream.read_exact(&mut read[5..]).await.unwrap();
        assert_eq!(read, text);
        assert_eq!(stream.ahead, [0; 32]);
    }

    #[tokio::test]
    async fn what_follows_is_read_together_with_what_was_read_ahead() {
        let (mut client, mut stream, life) = stream();
        let text: Vec<u8> = (1..=100).collect();
        client.write_all(&text).await.unwrap();
        let _request = UnderWay::begin(&life);
        assert_eq!(flush(&mut stream).await, Poll::Ready(true));
        let mut read = [0; 200];
        assert_eq!(stream.read(&mut read).await.unwrap(), 100);
        assert_eq!(read[..100], text);
    }

    #[tokio::test]
    async fn nothing_is_taken_from_a_reader_who_waits() {
        let (mut client, mut stream, life) = stream();
        let _request = UnderWay::begin(&life);
        let pending = poll_fn(|cx| {
            let mut bytes = [0; 8];
            Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut bytes)).is_pending())
        });
        assert!(pending.await);
        client.write_all(b"body").await.unwrap();
        assert_eq!(flush(&mut stream).await, Poll::Ready(true));
        assert_eq!(stream.length, 0);
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"body");
    }
}
