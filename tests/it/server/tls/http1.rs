//! HTTP/1.1 over TLS: the same timeouts as without TLS, and the maximum connection age.

use super::*;

/// Reads one response on a keep-alive connection and returns its head.
async fn answer_on(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"hello ") {
        assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0, "closed before the answer was complete");
    }
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn who_takes_no_alpn_gets_http_1() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut stream = over_tls(&authority.connector(None, &[]), connect(server.addr).await).await.unwrap();
    assert!(ask_once(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_idle_connection_is_cut() {
    let authority = Authority::new("ours");
    let server = serve(Config { keep_alive_timeout: A_WHILE, ..patient() }, NOBODY.tls(&authority.server()));
    let mut stream = secure(&server, &authority, None).await;
    answer_on(&mut stream, "/").await;
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    eventually("it is counted", || server.connections.timed_out_total() == 1 && server.connections.open() == 0).await;
}

#[tokio::test]
async fn a_later_head_or_tls_record_once_begun_has_no_more_time_than_a_first_one() {
    let authority = Authority::new("ours");
    let config = Config { first_request_timeout: A_WHILE, ..patient() };
    let server = serve(config, NOBODY.tls(&authority.server()));
    let mut idle = secure(&server, &authority, None).await;
    answer_on(&mut idle, "/").await;
    for is_head in [true, false] {
        let mut stream = secure(&server, &authority, None).await;
        answer_on(&mut stream, "/").await;
        match is_head {
            true => stream.write_all(b"GET / HT").await.unwrap(),
            // The header of a record of 100 bytes.
            false => stream.get_mut().0.write_all(&[23, 3, 3, 0, 100]).await.unwrap(),
        }
        let mut got = Vec::new();
        let cut = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got)).await;
        let _ = cut.expect("it is cut");
    }
    assert_eq!(server.connections.timed_out_total(), 2);
    answer_on(&mut idle, "/").await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut() {
    let authority = Authority::new("ours");
    let server = serve(Config { keep_alive_timeout: SOON, ..patient() }, NOBODY.tls(&authority.server()));
    let mut stream = secure(&server, &authority, None).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    eventually("it is cut", || server.connections.timed_out_total() == 1 && server.connections.open() == 0).await;
}

#[tokio::test]
async fn an_old_connection_is_told_with_an_answer_that_it_was_the_last() {
    let authority = Authority::new("ours");
    let server = serve(Config { max_connection_age: SOON, ..patient() }, NOBODY.tls(&authority.server()));
    let mut stream = secure(&server, &authority, None).await;
    while !answer_on(&mut stream, "/").await.contains("connection: close") {}
    let mut got = Vec::new();
    assert_eq!(stream.read_to_end(&mut got).await.unwrap(), 0, "closed after it");
}

#[tokio::test]
async fn a_stop_finishes_requests_in_flight_and_handshakes_under_way() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut busy = secure(&server, &authority, None).await;
    busy.write_all(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    server.arrived.acquire().await.unwrap().forget();
    let mut idle = secure(&server, &authority, None).await;
    let late = connect(server.addr).await;
    eventually("it is there", || server.connections.open() == 3).await;
    server.stop.cancel();
    // Idle connections are closed first. One that is still in its handshake may complete it and send a request.
    let _ = idle.read_to_end(&mut Vec::new()).await;
    let mut late = over_tls(&authority.connector(None, &[HTTP1]), late).await.unwrap();
    assert!(ask_once(&mut late).await.unwrap().contains("200 OK"));
    server.release.add_permits(1);
    let mut got = String::new();
    busy.read_to_string(&mut got).await.unwrap();
    assert!(got.contains("200 OK"), "{got}");
    server.served.await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_never_shakes_hands() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let _silent = connect(server.addr).await;
    eventually("it is there", || server.connections.open() == 1).await;
    server.stop.cancel();
    tokio::time::timeout(PATIENCE, server.served).await.unwrap().unwrap();
}
