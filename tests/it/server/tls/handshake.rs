//! Handshakes: which clients are accepted, which are refused with which alert, and which are cut.

use super::*;

/// The alert with which the listener closes the connection.
async fn alert(server: &Server, authority: &Authority, client: Option<&Issued>) -> rustls::AlertDescription {
    let connector = authority.connector(client, &[HTTP1]);
    // In TLS 1.3 the client's handshake is complete before the listener has checked its certificate.
    let error = match over_tls(&connector, connect(server.addr).await).await {
        Err(error) => error,
        Ok(mut stream) => ask_once(&mut stream).await.expect_err("it is refused"),
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error}"),
    }
}

#[tokio::test]
async fn a_client_of_the_authority_is_let_in_and_known() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    let client = authority.client("spiffe://test/withdrawal");
    let answer = ask_once(&mut secure(&server, &authority, Some(&client)).await).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello spiffe://test/withdrawal"),
        "{answer}"
    );
    eventually("the place is free", || server.connections.open() == 0).await;
    assert_eq!(server.connections.handshakes_failed_total().map(|(_, total)| total).sum::<u64>(), 0);
}

#[tokio::test]
async fn who_has_no_certificate_is_refused_where_one_is_required_and_let_in_where_it_is_optional() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    assert_eq!(alert(&server, &authority, None).await, rustls::AlertDescription::CertificateRequired);
    eventually("it is counted", || server.failures_are(Failure::NoClientCertificate, 1)).await;

    let server = serve(patient(), asks(&authority, ClientCertificates::Optional).tls(&authority.server()));
    let answer = ask_once(&mut secure(&server, &authority, None).await).await.unwrap();
    assert!(answer.ends_with("hello "), "{answer}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_even_where_none_is_needed() {
    let (ours, theirs) = (Authority::new("clients"), Authority::new("clients"));
    for how in [ClientCertificates::Required, ClientCertificates::Optional] {
        let server = serve(patient(), asks(&ours, how).tls(&ours.server()));
        let stranger = theirs.client("spiffe://test/withdrawal");
        let alert = alert(&server, &ours, Some(&stranger)).await;
        // An authority with the same name but another key: webpki reports a wrong signature, other libraries an
        // unknown authority.
        assert!(
            matches!(alert, rustls::AlertDescription::UnknownCA | rustls::AlertDescription::DecryptError),
            "{alert:?}"
        );
        eventually("it is counted", || server.failures_are(Failure::ClientCertificateRefused, 1)).await;
    }
    let (other, server) = (Authority::new("others"), asks(&ours, ClientCertificates::Required).tls(&ours.server()));
    let server = serve(patient(), server);
    let stranger = other.client("spiffe://test/withdrawal");
    assert_eq!(alert(&server, &ours, Some(&stranger)).await, rustls::AlertDescription::UnknownCA);
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    let client = authority.expired_client("spiffe://test/withdrawal");
    assert_eq!(alert(&server, &authority, Some(&client)).await, rustls::AlertDescription::CertificateExpired);
    eventually("it is counted", || server.failures_are(Failure::ClientCertificateRefused, 1)).await;
}

#[tokio::test]
async fn a_certificate_for_servers_does_not_make_a_client() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    alert(&server, &authority, Some(&authority.server())).await;
    eventually("it is counted", || server.failures_are(Failure::ClientCertificateRefused, 1)).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let authority = Authority::new("clients");
    let (revoked, good) = (authority.client("spiffe://test/old"), authority.client("spiffe://test/new"));
    for list in [authority.revokes(&[&revoked]), authority.revokes_pem(&[&revoked]).into_bytes()] {
        let asks = Asks { revoked: Some(list), ..asks(&authority, ClientCertificates::Required) };
        let server = serve(patient(), asks.tls(&authority.server()));
        assert_eq!(alert(&server, &authority, Some(&revoked)).await, rustls::AlertDescription::CertificateRevoked);
        eventually("it is counted", || server.failures_are(Failure::ClientCertificateRefused, 1)).await;
        assert!(ask_once(&mut secure(&server, &authority, Some(&good)).await).await.unwrap().contains("200 OK"));
    }
}

#[tokio::test]
async fn a_list_of_another_authority_lets_nobody_in() {
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let asks = Asks { revoked: Some(other.revokes(&[])), ..asks(&authority, ClientCertificates::Required) };
    let server = serve(patient(), asks.tls(&authority.server()));
    let client = authority.client("spiffe://test/withdrawal");
    alert(&server, &authority, Some(&client)).await;
    eventually("it is counted", || server.failures_are(Failure::ClientCertificateRefused, 1)).await;
}

#[tokio::test]
async fn no_ticket_lets_a_client_in_that_had_to_show_a_certificate() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    let client = authority.client("spiffe://test/withdrawal");
    let connector = authority.connector(Some(&client), &[HTTP1]);
    for _ in 0..2 {
        let mut stream = over_tls(&connector, connect(server.addr).await).await.unwrap();
        assert!(ask_once(&mut stream).await.unwrap().contains("200 OK"));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let connector = authority.connector(None, &[HTTP1]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = over_tls(&connector, connect(server.addr).await).await.unwrap();
        ask_once(&mut stream).await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

#[tokio::test]
async fn a_client_that_refuses_our_certificate_is_counted_apart() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = serve(patient(), NOBODY.tls(&ours.server()));
    let connector = theirs.connector(None, &[HTTP1]);
    assert!(over_tls(&connector, connect(server.addr).await).await.is_err());
    eventually("it is counted", || server.failures_are(Failure::RefusedByClient, 1)).await;
}

#[tokio::test]
async fn plain_words_on_a_tls_listener_end_the_connection() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut client = connect(server.addr).await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.expect("closed, not reset: the alert arrives");
    assert_eq!(got.first(), Some(&21), "an alert: {got:?}");
    eventually("it is counted", || server.failures_are(Failure::Protocol, 1)).await;
}

/// The ClientHello of a client that supports nothing newer than this version (3.2 is TLS 1.1).
fn client_hello(minor: u8) -> Vec<u8> {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.push(0);
    // The cipher suites common at that time: RSA and ECDHE with AES and SHA-1.
    let suites = [0x00, 0x2f, 0x00, 0x35, 0xc0, 0x13, 0xc0, 0x14, 0xc0, 0x09, 0xc0, 0x0a];
    hello.extend([0, suites.len() as u8]);
    hello.extend(suites);
    hello.extend([1, 0]);
    // Groups, point formats, and signature algorithms, without which rustls does not even check the version.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 3, 8, 4];
    hello.extend([0, extensions.len() as u8]);
    hello.extend(extensions);
    let mut record = vec![22, 3, 1, 0, (hello.len() + 4) as u8, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    record
}

#[tokio::test]
async fn tls_1_0_and_1_1_are_refused_with_an_alert() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    for (count, minor) in [(1, 1), (2, 2)] {
        let mut client = connect(server.addr).await;
        client.write_all(&client_hello(minor)).await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("closed, not reset: the alert arrives");
        // An alert record (21): fatal (2), protocol_version (70).
        assert_eq!((got.first(), got.get(5..7)), (Some(&21), Some(&[2, 70][..])), "TLS 1.{}: {got:?}", minor - 1);
        eventually("it is counted", || server.failures_are(Failure::Protocol, count)).await;
    }
}

#[tokio::test]
async fn a_handshake_that_is_silent_or_comes_byte_by_byte_is_cut() {
    let authority = Authority::new("ours");
    let tls = Asks { handshake_timeout: SOON, ..NOBODY }.tls(&authority.server());
    let server = serve(patient(), tls);
    let mut got = Vec::new();
    let _ = connect(server.addr).await.read_to_end(&mut got).await;
    assert!(got.is_empty(), "{got:?}");
    eventually("it is counted", || server.failures_are(Failure::Timeout, 1)).await;

    let mut client = connect(server.addr).await;
    let (mut read, mut write) = client.split();
    let hello = client_hello(3);
    let mut drops = tokio::time::interval(Duration::from_millis(20));
    tokio::select! {
        _ = read.read_to_end(&mut got) => {}
        () = async {
            for byte in hello.iter().cycle() {
                drops.tick().await;
                if write.write_all(&[*byte]).await.is_err() { break }
            }
        } => {}
    }
    eventually("it is counted", || server.failures_are(Failure::Timeout, 2) && server.connections.open() == 0).await;
}

#[tokio::test]
async fn a_handshake_is_under_the_deadline_of_the_first_request_too() {
    let authority = Authority::new("ours");
    let server = serve(Config { first_request_timeout: SOON, ..patient() }, NOBODY.tls(&authority.server()));
    let mut got = Vec::new();
    let _ = connect(server.addr).await.read_to_end(&mut got).await;
    eventually("it is cut", || server.failures_are(Failure::Timeout, 1) && server.connections.open() == 0).await;
    let server = serve(Config { first_request_timeout: A_WHILE, ..patient() }, NOBODY.tls(&authority.server()));
    // A client that completes the handshake and then stays silent is cut too, in either protocol.
    for (count, protocol) in [(1, HTTP1), (2, HTTP2)] {
        let connector = authority.connector(None, &[protocol]);
        let mut stream = over_tls(&connector, connect(server.addr).await).await.unwrap();
        let _ = stream.read_to_end(&mut got).await;
        eventually("it is cut", || server.connections.timed_out_total() == count && server.connections.open() == 0)
            .await;
    }
}

#[tokio::test]
async fn slow_handshakes_do_not_hold_up_the_others() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(connect(server.addr).await);
    }
    eventually("they are all there", || server.connections.open() == 50).await;
    assert!(ask_once(&mut secure(&server, &authority, None).await).await.unwrap().contains("200 OK"));
}

#[tokio::test]
async fn one_connection_too_many_is_closed_without_a_word() {
    let authority = Authority::new("ours");
    let server = serve(Config { max_connections: 1, ..patient() }, NOBODY.tls(&authority.server()));
    let _only = connect(server.addr).await;
    eventually("it is there", || server.connections.open() == 1).await;
    let mut got = Vec::new();
    let _ = connect(server.addr).await.read_to_end(&mut got).await;
    assert_eq!((got, server.connections.refused_total()), (Vec::new(), 1));
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_the_next_and_the_connected_go_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = serve(patient(), NOBODY.tls(&old.server()));
    let mut before = secure(&server, &old, None).await;
    server.switch.replace(NOBODY.tls(&new.server()));
    assert!(over_tls(&old.connector(None, &[HTTP1]), connect(server.addr).await).await.is_err());
    assert!(ask_once(&mut secure(&server, &new, None).await).await.unwrap().contains("200 OK"));
    assert!(ask_once(&mut before).await.unwrap().contains("200 OK"));
}
