//! HTTP/2: clients that are many, silent, malicious, dead or connected for too long, and a shutdown during requests.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

const GOAWAY: u8 = 7;

/// A correct client, which runs as long as its driver does.
struct Client {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn of(server: &Server, authority: &Authority, who: Option<&Issued>) -> Self {
        let stream = over_tls(&authority.connector(who, &[HTTP2]), connect(server.addr).await).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(HTTP2));
        Self::over(stream).await
    }

    async fn over(stream: TlsStream<TcpStream>) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        Self { send, driver: tokio::spawn(connection) }
    }

    async fn send(&mut self, path: &str) -> Result<ResponseFuture, h2::Error> {
        self.send_with(path, None).await
    }

    async fn send_with(&mut self, path: &str, header: Option<(&str, String)>) -> Result<ResponseFuture, h2::Error> {
        let mut request = Request::get(format!("https://localhost{path}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut ready = self.send.clone().ready().await?;
        Ok(ready.send_request(request.body(()).unwrap(), true)?.0)
    }

    async fn ask(&mut self, path: &str) -> Result<String, h2::Error> {
        let response = self.send(path).await?.await?;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key(header::CONNECTION), "illegal in HTTP/2");
        text(response.into_body()).await
    }
}

async fn text(mut body: RecvStream) -> Result<String, h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(all).unwrap())
}

/// A client that sends arbitrary frames.
async fn raw(server: &Server, authority: &Authority) -> TlsStream<TcpStream> {
    let mut stream = over_tls(&authority.connector(None, &[HTTP2]), connect(server.addr).await).await.unwrap();
    stream.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    stream
}

/// HEADERS of a complete `GET /held` to `localhost`.
fn headers(stream: u32) -> Vec<u8> {
    // :method GET, :scheme https, :path /held and :authority localhost as literals.
    let mut block = vec![0x82, 0x87, 0x04, 5];
    block.extend(b"/held");
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    frame(1, 0x05, stream, &block)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads frames up to one of this kind and returns its payload; `None` if the connection ends before.
async fn payload_of(stream: &mut TlsStream<TcpStream>, kind: u8) -> Option<Vec<u8>> {
    loop {
        let mut head = [0; 9];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await;
        read.expect("a frame in time").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == kind {
            return Some(payload);
        }
    }
}

#[tokio::test]
async fn requests_are_answered_side_by_side_and_know_their_client() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    let who = authority.client("spiffe://test/withdrawal");
    let mut client = Client::of(&server, &authority, Some(&who)).await;
    let held = client.send("/held").await.unwrap();
    assert_eq!(client.ask("/").await.unwrap(), "hello spiffe://test/withdrawal");
    server.release.add_permits(1);
    assert_eq!(held.await.unwrap().status(), 200);
    assert_eq!(server.connections.open(), 1);
}

#[tokio::test]
async fn many_streams_are_all_answered_and_no_more_at_a_time_than_allowed() {
    let authority = Authority::new("ours");
    let config = Config { max_concurrent_streams: 10, ..patient() };
    let server = serve(config, NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    // The first response comes after the server's SETTINGS, so the client knows the limit.
    client.ask("/").await.unwrap();
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(client.send("/held").await.unwrap());
    }
    server.arrived.acquire_many(10).await.unwrap().forget();
    let mut more = Client { send: client.send.clone(), driver: tokio::spawn(async { Ok(()) }) };
    let eleventh = tokio::spawn(async move { more.ask("/").await });
    assert_eq!(server.under_way.load(Ordering::SeqCst), 10);
    assert!(!eleventh.is_finished(), "it waits for a place");
    server.release.add_permits(10);
    for response in held {
        assert_eq!(response.await.unwrap().status(), 200);
    }
    eleventh.await.unwrap().unwrap();
    for _ in 0..500 {
        client.ask("/").await.unwrap();
    }
}

#[tokio::test]
async fn who_opens_more_streams_than_allowed_has_them_refused() {
    let authority = Authority::new("ours");
    let server = serve(Config { max_concurrent_streams: 5, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = raw(&server, &authority).await;
    let burst: Vec<u8> = (0..50).flat_map(|n| headers(2 * n + 1)).collect();
    client.write_all(&burst).await.unwrap();
    let reset = payload_of(&mut client, 3).await.expect("RST_STREAM");
    assert_eq!(reset, u32::from(Reason::REFUSED_STREAM).to_be_bytes());
    server.arrived.acquire_many(5).await.unwrap().forget();
    assert_eq!(server.under_way.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn rapid_reset_is_answered_with_enhance_your_calm_and_others_notice_nothing() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut neighbour = Client::of(&server, &authority, None).await;
    neighbour.ask("/").await.unwrap();
    let mut attacker = raw(&server, &authority).await;
    let cancel = u32::from(Reason::CANCEL).to_be_bytes();
    let burst: Vec<u8> =
        (0..10_000).flat_map(|n| [headers(2 * n + 1), frame(3, 0, 2 * n + 1, &cancel)].concat()).collect();
    // The server may close before the whole burst is written.
    let _ = attacker.write_all(&burst).await;
    let goaway = payload_of(&mut attacker, GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway[4..8], u32::from(Reason::ENHANCE_YOUR_CALM).to_be_bytes());
    eventually("it is gone", || server.connections.open() == 1).await;
    eventually("and so are its requests", || server.under_way.load(Ordering::SeqCst) == 0).await;
    neighbour.ask("/").await.unwrap();
}

#[tokio::test]
async fn a_header_list_within_the_room_is_the_services_to_refuse_and_beyond_is_431() {
    let authority = Authority::new("ours");
    let server = serve(Config { max_header_bytes: 8192, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    client.ask("/").await.unwrap();
    let mut status = async |length: usize| {
        let response = client.send_with("/", Some(("long", "a".repeat(length)))).await?;
        Ok::<_, h2::Error>(response.await?.status().as_u16())
    };
    assert_eq!(status(20_000).await.unwrap(), 200, "the service of these tests has no limit of its own");
    assert_eq!(status(40_000).await.unwrap(), 431);
}

#[tokio::test]
async fn headers_that_never_end_are_cut() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut client = raw(&server, &authority).await;
    // HEADERS without END_HEADERS, followed by endless CONTINUATION frames.
    client.write_all(&frame(1, 0x01, 1, &[0x82, 0x87])).await.unwrap();
    let more = frame(9, 0, 1, &[[0x00, 1, b'a', 1, b'b']; 1000].concat());
    for _ in 0..10_000 {
        if client.write_all(&more).await.is_err() {
            break;
        }
    }
    eventually("it is cut", || server.connections.open() == 0).await;
}

#[tokio::test]
async fn a_header_block_once_begun_has_no_more_time_than_a_first_head_and_an_idle_connection_has() {
    let authority = Authority::new("ours");
    let config = Config { first_request_timeout: A_WHILE, ..patient() };
    let server = serve(config, NOBODY.tls(&authority.server()));
    let mut idle = Client::of(&server, &authority, None).await;
    idle.ask("/").await.unwrap();
    // Half a frame, and half a block.
    for half in [headers(3)[..12].to_vec(), frame(1, 0x01, 3, &[0x82])] {
        let mut stream = raw(&server, &authority).await;
        server.release.add_permits(1);
        stream.write_all(&headers(1)).await.unwrap();
        assert!(payload_of(&mut stream, 1).await.is_some(), "the first request is answered");
        stream.write_all(&half).await.unwrap();
        let mut end = Vec::new();
        let cut = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut end)).await;
        let _ = cut.expect("it is cut");
    }
    assert_eq!(server.connections.timed_out_total(), 2);
    idle.ask("/").await.unwrap();
}

#[tokio::test]
async fn a_peer_that_is_silent_after_its_preface_is_cut() {
    let authority = Authority::new("ours");
    let server = serve(Config { first_request_timeout: A_WHILE, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = raw(&server, &authority).await;
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got).await;
    eventually("it is counted", || server.connections.timed_out_total() == 1 && server.connections.open() == 0).await;
}

#[tokio::test]
async fn a_dead_peer_is_found_out_by_pings() {
    let authority = Authority::new("ours");
    let config = Config { ping_interval: SOON, ping_timeout: 2 * A_WHILE, ..patient() };
    let server = serve(config, NOBODY.tls(&authority.server()));
    // A client that answers pings stays connected.
    let mut alive = Client::of(&server, &authority, None).await;
    alive.ask("/").await.unwrap();
    // A client that does not even read is cut, even with a request in progress.
    let mut dead = raw(&server, &authority).await;
    dead.write_all(&headers(1)).await.unwrap();
    server.arrived.acquire().await.unwrap().forget();
    eventually("it is cut", || server.connections.timed_out_total() == 1 && server.connections.open() == 1).await;
    eventually("its request ends", || server.under_way.load(Ordering::SeqCst) == 0).await;
    alive.ask("/").await.unwrap();
}

#[tokio::test]
async fn a_peer_that_answers_pings_and_asks_nothing_is_sent_away() {
    let authority = Authority::new("ours");
    let server = serve(Config { keep_alive_timeout: A_WHILE, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    client.ask("/").await.unwrap();
    client.driver.await.unwrap().expect("in good manners");
    eventually("it is closed", || server.connections.open() == 0).await;
    assert_eq!(server.connections.timed_out_total(), 0);
}

#[tokio::test]
async fn a_slow_answer_is_no_idleness() {
    let authority = Authority::new("ours");
    let server = serve(Config { keep_alive_timeout: A_WHILE, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    let held = client.send("/held").await.unwrap();
    server.arrived.acquire().await.unwrap().forget();
    // The idle connection serves as the clock: it is opened later and closed by the same timeout.
    let mut idle = Client::of(&server, &authority, None).await;
    idle.ask("/").await.unwrap();
    idle.driver.await.unwrap().unwrap();
    server.release.add_permits(1);
    assert_eq!(held.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let authority = Authority::new("ours");
    let server = serve(Config { keep_alive_timeout: A_WHILE, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    // The client answers every ping but never opens the flow-control window.
    let response = client.send("/large").await.unwrap().await.unwrap();
    eventually("it is cut", || server.connections.timed_out_total() == 1 && server.connections.open() == 0).await;
    drop(response);
}

#[tokio::test]
async fn a_client_that_never_reads_its_socket_is_cut() {
    let authority = Authority::new("ours");
    let server = serve(Config { keep_alive_timeout: SOON, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = raw(&server, &authority).await;
    // The largest possible windows, and a client that reads nothing.
    let wide = frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    let window = frame(8, 0, 0, &0x7fff_0000u32.to_be_bytes());
    let mut block = vec![0x82, 0x87, 0x04, 6];
    block.extend(b"/large");
    block.extend([0x01, 9]);
    block.extend(b"localhost");
    client.write_all(&[wide, window, frame(1, 0x05, 1, &block)].concat()).await.unwrap();
    eventually("it is cut", || server.connections.timed_out_total() == 1 && server.connections.open() == 0).await;
}

#[tokio::test]
async fn an_old_connection_goes_away_and_loses_nothing() {
    let authority = Authority::new("ours");
    let server = serve(Config { max_connection_age: SOON, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    let held = client.send("/held").await.unwrap();
    server.arrived.acquire().await.unwrap().forget();
    let mut asked = 0;
    let gone = loop {
        match client.ask("/").await {
            Ok(_) => asked += 1,
            Err(error) => break error,
        }
    };
    assert!(asked > 0);
    // A request after GOAWAY is refused before it is processed, so the client may retry it elsewhere.
    let may_be_asked_again =
        gone.is_go_away() && gone.reason() == Some(Reason::NO_ERROR) || gone.reason() == Some(Reason::REFUSED_STREAM);
    assert!(may_be_asked_again, "{gone:?}");
    server.release.add_permits(1);
    assert_eq!(text(held.await.unwrap().into_body()).await.unwrap(), "hello ");
    client.driver.await.unwrap().unwrap();
    eventually("it is closed", || server.connections.open() == 0).await;
}

#[tokio::test]
async fn an_answer_that_says_goodbye_ends_the_connection_as_http_2_does() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    client.ask("/").await.unwrap();
    assert_eq!(client.ask("/leave").await.unwrap(), "hello ");
    client.driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_answers_everything_that_was_asked() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut clients = Vec::new();
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut client = Client::of(&server, &authority, None).await;
        for _ in 0..10 {
            held.push(client.send("/held").await.unwrap());
        }
        clients.push(client);
    }
    let idle = Client::of(&server, &authority, None).await;
    server.arrived.acquire_many(50).await.unwrap().forget();
    server.stop.cancel();
    idle.driver.await.unwrap().unwrap();
    eventually("the idle one is gone", || server.connections.open() == 5).await;
    server.release.add_permits(50);
    for response in held {
        assert_eq!(text(response.await.unwrap().into_body()).await.unwrap(), "hello ");
    }
    for client in clients {
        client.driver.await.unwrap().unwrap();
    }
    server.served.await.unwrap();
    assert_eq!(server.under_way.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_is_cut_with_its_requests() {
    let authority = Authority::new("ours");
    let server = serve(Config { drain_timeout: SOON, ..patient() }, NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    let held = client.send("/held").await.unwrap();
    server.arrived.acquire().await.unwrap().forget();
    server.stop.cancel();
    server.served.await.unwrap();
    assert!(held.await.is_err());
    assert_eq!((server.connections.open(), server.under_way.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn a_client_that_cancels_or_leaves_ends_its_requests() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut client = Client::of(&server, &authority, None).await;
    let (one, two) = (client.send("/held").await.unwrap(), client.send("/held").await.unwrap());
    server.arrived.acquire_many(2).await.unwrap().forget();
    drop(one);
    eventually("the cancelled one ends", || server.under_way.load(Ordering::SeqCst) == 1).await;
    client.driver.abort();
    drop((client.send, two));
    eventually("the other one ends", || server.under_way.load(Ordering::SeqCst) == 0).await;
    eventually("the place is free", || server.connections.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_change_under_load_fail_no_request() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = Arc::new(serve(patient(), NOBODY.tls(&old.server())));
    let both = {
        let pem = [&old, &new].map(|one| reqwest::Certificate::from_pem(one.pem().as_bytes()).unwrap());
        reqwest::Client::builder().no_proxy().tls_certs_only(pem).pool_max_idle_per_host(0).build().unwrap()
    };
    let mut kept = Client::of(&server, &old, None).await;
    let done = CancellationToken::new();
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (both, done, url) = (both.clone(), done.clone(), format!("https://{}/", server.addr));
        load.spawn(async move {
            let mut asked = 0;
            // Each request uses a new connection and therefore a handshake.
            while !done.is_cancelled() {
                assert_eq!(both.get(&url).send().await.expect("no failed request").status(), 200);
                asked += 1;
            }
            asked
        });
    }
    for round in 0..40 {
        let next = if round % 2 == 0 { new.server() } else { old.server() };
        server.switch.replace(NOBODY.tls(&next));
        kept.ask("/").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = new.server();
    server.switch.replace(NOBODY.tls(&last));
    let stream = over_tls(&new.connector(None, &[HTTP2]), connect(server.addr).await).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], last.der);
    done.cancel();
    let asked: u32 = load.join_all().await.into_iter().sum();
    assert!(asked > 100, "{asked}");
    assert_eq!(server.connections.handshakes_failed_total().map(|(_, total)| total).sum::<u64>(), 0);
    kept.ask("/").await.unwrap();
}
