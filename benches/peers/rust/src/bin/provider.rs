//! The invented provider: answers every request with a match, at once or after a delay. As cheap as it gets, because it
//! shares a processor with the load generator. `GET /count` says how many questions there have been.
//!
//!   provider --listen ADDRESS:PORT [--delay-ms N]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idgate_peers::{VERDICT, address, argument, listen, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

static ASKED: AtomicU64 = AtomicU64::new(0);

fn response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The length of the first request in `bytes`, and whether it is a question.
fn request(bytes: &[u8]) -> Option<(usize, bool)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { return None };
    let header = |name: &str| request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let is_question = request.path != Some("/count");
    // A chunked body, which vendors' clients send, ends with an empty chunk.
    if header("transfer-encoding").is_some() {
        let end = bytes[head..].windows(5).position(|end| end == b"0\r\n\r\n")?;
        return Some((head + end + 5, is_question));
    }
    let body = header("content-length").and_then(|length| std::str::from_utf8(length.value).ok()?.parse().ok());
    let length = head + body.unwrap_or(0_usize);
    (bytes.len() >= length).then_some((length, is_question))
}

async fn answer(mut stream: TcpStream, delay: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let verdict = response(VERDICT);
    let mut bytes = Vec::with_capacity(16 * 1024);
    while stream.read_buf(&mut bytes).await? > 0 {
        while let Some((length, is_question)) = request(&bytes) {
            bytes.drain(..length);
            if is_question {
                ASKED.fetch_add(1, Ordering::Relaxed);
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                stream.write_all(verdict.as_bytes()).await?;
            } else {
                let count = ASKED.load(Ordering::Relaxed).to_string();
                stream.write_all(response(&count).as_bytes()).await?;
            }
        }
    }
    Ok(())
}

fn main() {
    let delay = Duration::from_millis(argument("delay-ms").unwrap_or(0));
    let address = address("listen");
    serve(async move {
        let listener = listen(address);
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, delay));
        }
    });
}
