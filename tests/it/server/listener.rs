//! Clients that are silent, slow, idle or too many, and a shutdown during requests. Deadlines are short and real,
//! because sockets do not follow a paused clock; no test asserts how soon something happens, only that it does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use idgate::server::listener::{Config, Connections, Listener, Routed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_millis(200);
const NEVER: Duration = Duration::from_secs(600);

/// Deadlines so long that only the one that a test shortens takes effect.
fn patient() -> Config {
    Config { first_request_timeout: NEVER, keep_alive_timeout: NEVER, drain_timeout: NEVER, ..Config::default() }
}

struct Server {
    addr: SocketAddr,
    connections: Connections,
    stop: CancellationToken,
    /// Responses to `/held` wait for a permit.
    release: Arc<Semaphore>,
    /// Gets a permit for each `/held` that has arrived.
    arrived: Arc<Semaphore>,
    served: JoinHandle<()>,
}

fn serve(config: Config) -> Server {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config).unwrap();
    let (addr, connections) = (listener.local_addr(), listener.connections());
    let (release, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let stop = CancellationToken::new();
    let gates = (release.clone(), arrived.clone());
    let service = tower::service_fn(move |request: Request<Incoming>| answer(request, gates.clone()));
    let served = tokio::spawn(listener.serve(Routed(service), stop.clone()));
    Server { addr, connections, stop, release, arrived, served }
}

async fn answer(
    request: Request<Incoming>,
    (release, arrived): (Arc<Semaphore>, Arc<Semaphore>),
) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == "/held" {
        arrived.add_permits(1);
        release.acquire().await.unwrap().forget();
    }
    let ConnectInfo(peer) = *request.extensions().get::<ConnectInfo<SocketAddr>>().unwrap();
    Ok(Response::new(Body::from(peer.to_string())))
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

async fn send(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads one response of the test service, which ends with the port of `stream`.
async fn one_answer(stream: &mut TcpStream) -> String {
    let end = stream.local_addr().unwrap().to_string();
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0, "closed before the answer was complete");
    }
    String::from_utf8(got).unwrap()
}

/// Reads until the server closes or resets.
async fn rest(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    String::from_utf8(got).unwrap()
}

/// Waits for a condition that another task brings about.
async fn eventually(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_is_answered_and_knows_its_peer() {
    let server = serve(patient());
    let mut client = connect(server.addr).await;
    send(&mut client, "/").await;
    assert!(one_answer(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    send(&mut client, "/").await;
    one_answer(&mut client).await;
    assert_eq!(server.connections.open(), 1, "the connection is kept alive");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    let server = serve(Config { first_request_timeout: SOON, ..patient() });
    assert_eq!(rest(&mut connect(server.addr).await).await, "");
    eventually(|| server.connections.open() == 0 && server.connections.timed_out_total() == 1).await;
}

#[tokio::test]
async fn a_client_that_sends_half_a_request_line_is_cut() {
    let server = serve(Config { first_request_timeout: SOON, ..patient() });
    for half in ["GET / HT", "PRI * HT"] {
        let mut client = connect(server.addr).await;
        client.write_all(half.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut client).await, "");
    }
    eventually(|| server.connections.timed_out_total() == 2).await;
}

#[tokio::test]
async fn a_client_that_drips_its_headers_is_cut() {
    let server = serve(Config { first_request_timeout: SOON, ..patient() });
    let mut client = connect(server.addr).await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let (mut read, mut write) = client.split();
    let mut got = Vec::new();
    let mut drops = tokio::time::interval(Duration::from_millis(20));
    tokio::select! {
        _ = read.read_to_end(&mut got) => {}
        () = async { loop { drops.tick().await; if write.write_all(b"a: b\r\n").await.is_err() { break } } } => {}
    }
    eventually(|| server.connections.timed_out_total() == 1).await;
}

#[tokio::test]
async fn an_idle_connection_is_cut_and_a_dripped_second_head_too() {
    let server = serve(Config { keep_alive_timeout: SOON, ..patient() });
    for second in ["", "GET / HTTP/1.1\r\nhos"] {
        let mut client = connect(server.addr).await;
        send(&mut client, "/").await;
        one_answer(&mut client).await;
        client.write_all(second.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut client).await, "");
    }
    eventually(|| server.connections.timed_out_total() == 2).await;
}

#[tokio::test]
async fn a_slow_answer_is_not_cut_by_the_deadlines_for_heads() {
    let server = serve(Config { first_request_timeout: SOON, keep_alive_timeout: SOON, ..patient() });
    let mut client = connect(server.addr).await;
    send(&mut client, "/held").await;
    server.arrived.acquire().await.unwrap().forget();
    // The silent connection serves as the clock: it is opened later and closed by the same deadlines.
    rest(&mut connect(server.addr).await).await;
    server.release.add_permits(1);
    assert!(one_answer(&mut client).await.contains("200 OK"));
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_cut() {
    let server = serve(Config { keep_alive_timeout: SOON, ..patient() });
    let mut client = connect(server.addr).await;
    // Writes until all buffers are full; then the server closes the connection and the write fails.
    let requests = "GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(1000);
    let cut = async { while client.write_all(requests.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), cut).await.expect("whoever never reads is cut");
    eventually(|| server.connections.open() == 0 && server.connections.timed_out_total() == 1).await;
}

#[tokio::test]
async fn a_head_beyond_all_room_is_answered_431() {
    let server = serve(Config { max_header_bytes: 8192, ..patient() });
    let mut client = connect(server.addr).await;
    // Up to four times the limit, the service itself refuses the request. This head is longer and never ends.
    let head = format!("GET / HTTP/1.1\r\nlong: {}", "a".repeat(40_000));
    client.write_all(head.as_bytes()).await.unwrap();
    assert_is_a_problem(&rest(&mut client).await, "HTTP/1.1 431 ", "headers_too_large");
}

fn assert_is_a_problem(answer: &str, status: &str, code: &str) {
    assert!(answer.starts_with(status), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], code, "{body}");
}

#[tokio::test]
async fn what_the_parser_cannot_read_is_answered_with_a_problem_document() {
    let server = serve(patient());
    for malformed in ["GET / HTTP/9\r\n\r\n", "GE(T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        let mut client = connect(server.addr).await;
        client.write_all(malformed.as_bytes()).await.unwrap();
        assert_is_a_problem(&closed(&mut client).await, "HTTP/1.1 400 ", "malformed_request");
    }
    // After a request on the same connection, too.
    let mut client = connect(server.addr).await;
    send(&mut client, "/").await;
    one_answer(&mut client).await;
    client.write_all(b"\0\r\n\r\n").await.unwrap();
    assert_is_a_problem(&closed(&mut client).await, "HTTP/1.1 400 ", "malformed_request");
}

#[tokio::test]
async fn one_connection_too_many_is_refused_cleanly_and_its_place_is_used_again() {
    let server = serve(Config { max_connections: 2, ..patient() });
    let mut first = connect(server.addr).await;
    let second = connect(server.addr).await;
    eventually(|| server.connections.open() == 2).await;

    for _ in 0..3 {
        let mut third = connect(server.addr).await;
        send(&mut third, "/").await;
        let mut refusal = Vec::new();
        third.read_to_end(&mut refusal).await.expect("a refusal is no reset");
        let refusal = String::from_utf8(refusal).unwrap();
        assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains(r#""code":"overloaded""#), "{refusal}");
    }
    assert_eq!(server.connections.refused_total(), 3);

    send(&mut first, "/").await;
    one_answer(&mut first).await;
    drop(second);
    eventually(|| server.connections.open() == 1).await;
    let mut fourth = connect(server.addr).await;
    send(&mut fourth, "/").await;
    one_answer(&mut fourth).await;
}

#[tokio::test]
async fn refused_clients_that_stay_silent_do_not_block_the_loop() {
    let server = serve(Config { max_connections: 1, ..patient() });
    let _only = connect(server.addr).await;
    eventually(|| server.connections.open() == 1).await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(connect(server.addr).await);
    }
    for client in &mut silent {
        assert!(rest(client).await.starts_with("HTTP/1.1 503 "));
    }
    assert_eq!(server.connections.refused_total(), 400);
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_finishes_requests_in_flight() {
    let server = serve(patient());
    let mut unused = connect(server.addr).await;
    let mut idle = connect(server.addr).await;
    send(&mut idle, "/").await;
    one_answer(&mut idle).await;
    let mut busy = connect(server.addr).await;
    send(&mut busy, "/held").await;
    server.arrived.acquire().await.unwrap().forget();

    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut unused).await, "");
    assert!(TcpStream::connect(server.addr).await.is_err(), "nothing new is accepted");
    server.release.add_permits(1);
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
    server.served.await.unwrap();
    assert_eq!(server.connections.open(), 0);
}

/// Connects and sends a request without letting the accept loop run: the kernel handles both alone.
fn connect_and_ask_in_one_breath(addr: SocketAddr) -> TcpStream {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

#[tokio::test]
async fn who_is_in_the_kernels_queue_at_a_stop_is_still_answered() {
    let server = serve(patient());
    let mut queued: Vec<_> = (0..20).map(|_| connect_and_ask_in_one_breath(server.addr)).collect();
    server.stop.cancel();
    for client in &mut queued {
        assert!(rest(client).await.contains("200 OK"));
    }
    server.served.await.unwrap();
}

#[tokio::test]
async fn a_request_that_was_sent_before_the_stop_is_answered_on_an_idle_connection() {
    let server = serve(patient());
    let mut client = connect(server.addr).await;
    send(&mut client, "/").await;
    one_answer(&mut client).await;
    let mut client = client.into_std().unwrap();
    server.stop.cancel();
    std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let mut client = TcpStream::from_std(client).unwrap();
    assert!(rest(&mut client).await.contains("200 OK"));
    server.served.await.unwrap();
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut() {
    let server = serve(Config { drain_timeout: SOON, ..patient() });
    let mut busy = connect(server.addr).await;
    send(&mut busy, "/held").await;
    server.arrived.acquire().await.unwrap().forget();
    server.stop.cancel();
    server.served.await.unwrap();
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(server.connections.open(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let server = serve(patient());
    let mut client = connect(server.addr).await;
    send(&mut client, "/held").await;
    server.arrived.acquire().await.unwrap().forget();
    drop(client);
    eventually(|| server.connections.open() == 0).await;
    assert_eq!(server.connections.timed_out_total(), 0);
}

/// Reads until the server closes; only a broken test waits for the limit.
async fn closed(stream: &mut TcpStream) -> String {
    tokio::time::timeout(Duration::from_secs(60), rest(stream)).await.expect("it is closed")
}

#[tokio::test]
async fn a_later_head_once_begun_has_no_more_time_than_a_first_one_and_an_idle_connection_has() {
    let server = serve(Config { first_request_timeout: SOON, ..patient() });
    let mut idle = connect(server.addr).await;
    send(&mut idle, "/").await;
    one_answer(&mut idle).await;
    for rest_of_a_head in ["GET / HTTP/1.1\r\nhos", "G", "\r\n\r\nGET"] {
        let mut client = connect(server.addr).await;
        send(&mut client, "/").await;
        one_answer(&mut client).await;
        client.write_all(rest_of_a_head.as_bytes()).await.unwrap();
        assert_eq!(closed(&mut client).await, "", "{rest_of_a_head:?}");
    }
    assert_eq!(server.connections.timed_out_total(), 3);
    send(&mut idle, "/").await;
    one_answer(&mut idle).await;
}

#[tokio::test]
async fn a_request_under_way_is_no_unfinished_head() {
    let server = serve(Config { first_request_timeout: SOON, ..patient() });
    let mut client = connect(server.addr).await;
    client.write_all(b"POST /held HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    server.arrived.acquire().await.unwrap().forget();
    client.write_all(b"bo").await.unwrap();
    // The silent connection serves as the clock.
    closed(&mut connect(server.addr).await).await;
    server.release.add_permits(1);
    assert!(one_answer(&mut client).await.contains("200 OK"));
}

#[tokio::test]
async fn of_unfinished_heads_beyond_the_budget_the_largest_goes_first_and_others_are_answered() {
    let server = serve(Config { max_unfinished_bytes: 1024 * 1024, ..patient() });
    let begun = |size: usize| format!("GET / HTTP/1.1\r\nlong: {}", "a".repeat(size));
    let mut small = connect(server.addr).await;
    small.write_all(begun(10_000).as_bytes()).await.unwrap();
    let mut strangers = Vec::new();
    while server.connections.evicted_total() < 20 {
        let mut stranger = connect(server.addr).await;
        stranger.write_all(begun(60_000).as_bytes()).await.unwrap();
        strangers.push(stranger);
        assert!(strangers.len() < 1_000, "nobody is evicted");
        tokio::task::yield_now().await;
    }
    assert!(strangers.len() > 15, "16 of them fit");
    assert_eq!(closed(&mut strangers[0]).await, "", "the oldest of the largest");
    let mut newcomer = connect(server.addr).await;
    send(&mut newcomer, "/").await;
    one_answer(&mut newcomer).await;
    small.write_all(b"\r\nhost: test\r\n\r\n").await.unwrap();
    assert!(one_answer(&mut small).await.contains("200 OK"), "a smaller one may be finished");
    drop(strangers);
    eventually(|| server.connections.open() == 2).await;
    assert_eq!(server.connections.timed_out_total(), 0);
}

async fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    // Not configured: half of the places, but at least 64.
    for (max_connections, max_per_address, places) in [(8, Some(3), 3), (160, None, 80), (80, None, 64)] {
        let server = serve(Config { max_connections, max_per_address, ..patient() });
        let mut greedy = Vec::new();
        for _ in 0..places {
            greedy.push(connect_from("127.0.0.2", server.addr).await);
        }
        eventually(|| server.connections.open() == places).await;
        let mut one_more = connect_from("127.0.0.2", server.addr).await;
        send(&mut one_more, "/").await;
        assert!(closed(&mut one_more).await.starts_with("HTTP/1.1 503 "));
        assert_eq!(server.connections.refused_total(), 1);
        let mut neighbour = connect_from("127.0.0.3", server.addr).await;
        send(&mut neighbour, "/").await;
        one_answer(&mut neighbour).await;
        drop(greedy.pop());
        eventually(|| server.connections.open() == places).await;
        let mut again = connect_from("127.0.0.2", server.addr).await;
        send(&mut again, "/").await;
        one_answer(&mut again).await;
    }
}
