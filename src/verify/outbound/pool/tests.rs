use futures_util::future::join;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::domain::money::Billed;
use crate::verify::outbound::client::Clients;
use crate::verify::outbound::dns::{Names, System};
use crate::verify::outbound::settings::{Outbound, Proxy};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A provider that the test itself plays.
async fn provider() -> (TcpListener, Pool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, clients().to(&endpoint, &Outbound::direct(Duration::from_secs(20))).unwrap())
}

fn clients() -> Clients {
    Clients::new(Arc::new(Names::new(Arc::new(System), &prometheus::Registry::new()).unwrap()), None)
}

fn request(body: &'static str) -> Request<Bytes> {
    let uri = "http://provider.example/ask?x=1";
    Request::builder().method(Method::POST).uri(uri).body(Bytes::from_static(body.as_bytes())).unwrap()
}

/// Reads one request with a body of this length.
async fn read(socket: &mut TcpStream, body: usize) -> String {
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if text.split_once("\r\n\r\n").is_some_and(|(_, rest)| rest.len() >= body) {
            return text;
        }
        assert_ne!(socket.read_buf(&mut got).await.unwrap(), 0, "closed within a request: {text}");
    }
}

/// Answers the next request on `socket`.
async fn answer(socket: &mut TcpStream, with: impl AsRef<[u8]>) {
    read(socket, 1).await;
    socket.write_all(with.as_ref()).await.unwrap();
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

/// Sends a request over a new connection, which is answered `with` this. Returns the answer and the other end.
async fn first(listener: &TcpListener, pool: &Pool, with: &str) -> (Result<Response<Bytes>, Fault>, TcpStream) {
    let served = async {
        let mut socket = accept(listener).await;
        answer(&mut socket, with).await;
        socket
    };
    join(pool.send(request("1")), served).await
}

fn is_kept(pool: &Pool) -> bool {
    !pool.0.idle().connections.is_empty()
}

fn fault(result: Result<Response<Bytes>, Fault>) -> (Outcome, Reason, Billed) {
    let fault = result.expect_err("no response");
    (fault.outcome, fault.reason, fault.billed)
}

const INTERRUPTED: (Outcome, Reason, Billed) = (Outcome::Interrupted, Reason::Unspecified, Billed::Unknown);

#[tokio::test]
async fn one_connection_serves_one_request_after_the_other() {
    let (listener, pool) = provider().await;
    let (response, mut socket) = first(&listener, &pool, HELLO).await;
    assert_eq!(response.unwrap().body(), "hello");
    for _ in 0..3 {
        let (response, ()) = join(pool.send(request("2")), answer(&mut socket, HELLO)).await;
        assert_eq!(response.unwrap().body(), "hello");
    }
}

#[tokio::test]
async fn a_request_names_the_host_and_asks_for_plain_text() {
    let (listener, pool) = provider().await;
    let served = async {
        let mut socket = accept(&listener).await;
        let text = read(&mut socket, 1).await;
        socket.write_all(HELLO.as_bytes()).await.unwrap();
        text
    };
    let (_, text) = join(pool.send(request("1")), served).await;
    let mut lines: Vec<_> = text.split("\r\n").collect();
    lines[1..5].sort_unstable();
    let host = format!("host: {}", listener.local_addr().unwrap());
    let headers = ["accept-encoding: identity", "accept: */*", "content-length: 1", &*host];
    assert_eq!(lines, [&["POST /ask?x=1 HTTP/1.1"], &headers[..], &["", "1"]].concat());
    for (url, host) in [("https://a.example:443", "a.example"), ("https://a.example:80", "a.example:80")] {
        let endpoint = Endpoint::parse(url).unwrap();
        let pool = clients().to(&endpoint, &Outbound::direct(Duration::from_secs(1))).unwrap();
        assert_eq!(pool.0.host, host, "the default port is not named");
    }
}

#[tokio::test]
async fn an_idle_connection_that_the_provider_has_closed_is_replaced_before_anything_is_sent() {
    let (listener, pool) = provider().await;
    let (response, socket) = first(&listener, &pool, HELLO).await;
    response.unwrap();
    assert!(is_kept(&pool));
    drop(socket);
    // Lets the runtime see that the connection has ended.
    tokio::task::yield_now().await;
    let (response, _socket) = first(&listener, &pool, HELLO).await;
    assert_eq!(response.unwrap().body(), "hello");
}

#[tokio::test]
async fn an_idle_connection_that_says_something_is_not_used() {
    let (listener, pool) = provider().await;
    let (response, mut socket) = first(&listener, &pool, HELLO).await;
    response.unwrap();
    socket.write_all(HELLO.replace("hello", "wrong").as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    let (response, _socket) = first(&listener, &pool, HELLO).await;
    assert_eq!(response.unwrap().body(), "hello");
}

#[tokio::test]
async fn a_request_that_was_written_is_not_written_again() {
    let (listener, pool) = provider().await;
    let served = async {
        let mut socket = accept(&listener).await;
        answer(&mut socket, HELLO).await;
        // The second request is read and not answered.
        read(&mut socket, 1).await;
    };
    let asked = async {
        pool.send(request("1")).await.unwrap();
        pool.send(request("2")).await
    };
    let (result, ()) = join(asked, served).await;
    assert_eq!(fault(result), INTERRUPTED);
    assert!(!is_kept(&pool));
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none(), "no second connection");
}

#[tokio::test]
async fn a_response_that_ends_early_is_interrupted() {
    for cut in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"] {
        let (listener, pool) = provider().await;
        let served = async { answer(&mut accept(&listener).await, cut).await };
        let (result, ()) = join(pool.send(request("1")), served).await;
        assert_eq!(fault(result), INTERRUPTED, "{cut}");
    }
}

#[tokio::test]
async fn every_form_of_a_response_is_read() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    let folded = "HTTP/1.1 200 OK\r\nx: a,\r\n b\r\ncontent-length: 5\r\n\r\nhello";
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let last = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    let old = "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    for (with, is_reused) in [(chunked, true), (folded, true), (early, true), (last, false), (old, false)] {
        let (listener, pool) = provider().await;
        let (response, _socket) = first(&listener, &pool, with).await;
        assert_eq!(response.unwrap().body(), "hello", "{with}");
        assert_eq!(is_kept(&pool), is_reused, "{with}");
    }
    let (listener, pool) = provider().await;
    let (response, _) = join(pool.send(request("1")), async {
        answer(&mut accept(&listener).await, "HTTP/1.1 200 OK\r\n\r\nhello").await;
    })
    .await;
    assert_eq!(response.unwrap().body(), "hello", "the end of the connection is that of the body");
    assert!(!is_kept(&pool));
}

#[tokio::test]
async fn a_body_has_a_limit_however_it_comes() {
    let framed = |length: usize, is_chunked: bool| match is_chunked {
        true => format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            length,
            "x".repeat(length)
        ),
        false => format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length)),
    };
    for is_chunked in [false, true] {
        for (length, fits) in [(BODY_CAP, true), (BODY_CAP + 1, false)] {
            let (listener, pool) = provider().await;
            let (result, _socket) = first(&listener, &pool, &framed(length, is_chunked)).await;
            match fits {
                true => assert_eq!(result.unwrap().body().len(), length),
                false => assert_eq!(fault(result), (Outcome::Unreadable, Reason::TooBig, Billed::Unknown)),
            }
            assert_eq!(is_kept(&pool), fits, "{length} {is_chunked}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_neither_followed_nor_read() {
    let (listener, pool) = provider().await;
    let away = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/\r\ncontent-length: 9\r\n\r\n",
        listener.local_addr().unwrap()
    );
    // Its body never comes.
    let (result, _socket) = first(&listener, &pool, &away).await;
    assert_eq!(fault(result), (Outcome::Unreadable, Reason::Redirect, Billed::Unknown));
    assert!(!is_kept(&pool));
}

#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection() {
    let (listener, pool) = provider().await;
    let mut call = Box::pin(pool.send(request("1")));
    let mut socket = tokio::select! {
        _ = &mut call => panic!("there is no answer"),
        socket = async {
            let mut socket = accept(&listener).await;
            read(&mut socket, 1).await;
            socket
        } => socket,
    };
    drop(call);
    assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(!is_kept(&pool));
}

#[tokio::test]
async fn what_is_idle_for_too_long_is_closed() {
    let (listener, pool) = provider().await;
    let (_, mut socket) = first(&listener, &pool, HELLO).await;
    let (shared, now) = (&pool.0, Instant::now());
    assert!(shared.idle().is_watched);
    let (old, next) = shared.expired(now);
    assert!(old.is_empty() && next.is_some_and(|next| next <= now + shared.idle_timeout));
    let (old, next) = shared.expired(now + shared.idle_timeout);
    assert_eq!((old.len(), next, shared.idle().is_watched), (1, None, false));
    drop(old);
    assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_call_does_not_wait_for_a_new_connection_when_another_becomes_free() {
    // A proxy that grants the first tunnel only. Connections to loopback otherwise open at once.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy { url: format!("http://{}", listener.local_addr().unwrap()), login: None };
    let outbound = Outbound { proxy: Some(proxy), ..Outbound::direct(Duration::from_secs(20)) };
    let endpoint = Endpoint::parse("http://127.0.0.1:9").unwrap();
    let pool = Pool::new(clients().connector(&outbound).unwrap(), &endpoint, outbound.idle_timeout).unwrap();
    let served = async {
        let mut socket = accept(&listener).await;
        read(&mut socket, 0).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        read(&mut socket, 1).await;
        let mut other = accept(&listener).await;
        read(&mut other, 0).await;
        socket.write_all(HELLO.as_bytes()).await.unwrap();
        answer(&mut socket, HELLO).await;
        other
    };
    let both = join(pool.send(request("1")), pool.send(request("2")));
    let ((one, other), _unused) = join(both, served).await;
    assert_eq!((one.unwrap().body(), other.unwrap().body()), (&Bytes::from("hello"), &Bytes::from("hello")));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_has_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let pool = clients().to(&endpoint, &Outbound::direct(Duration::from_millis(100))).unwrap();
    let result = pool.send(request("1")).await;
    assert_eq!(fault(result), (Outcome::Unreachable, Reason::Unspecified, Billed::No));
}

#[test]
fn a_connection_that_the_system_gives_up_is_a_timeout() {
    assert_eq!(fault_of(&io::Error::from(io::ErrorKind::TimedOut)).outcome, Outcome::Timeout);
    assert_eq!(fault_of(&io::Error::from(io::ErrorKind::ConnectionReset)).outcome, Outcome::Interrupted);
}
