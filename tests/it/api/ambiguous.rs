//! Requests that two readers could understand differently are refused before anything is done, on both listeners.

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{bearer, client};
use crate::support::pki::{Authority, over_tls};
use crate::support::{TestGateway, anybody};

const KEY: &str = "idg_synthetic-key";
const OPERATOR: &str = "idg_synthetic-operator";

fn operator() -> String {
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(OPERATOR));
    format!("[operators.oncall]\nkeys = [{{ id = \"o\", sha256 = \"{hash}\" }}]\n")
}

/// Sends these bytes and reads until the end.
async fn exchange(addr: std::net::SocketAddr, request: String) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn of_two_values_of_a_header_neither_counts() {
    let gateway = TestGateway::new().over(client("one", KEY, "") + &operator()).start().await;
    let key = format!("authorization: {}", bearer(KEY));
    let operator_key = format!("authorization: {}", bearer(OPERATOR));
    let body = anybody().body().to_string();
    let plain = [
        format!("host: {}", gateway.public),
        "connection: close".to_owned(),
        "content-type: application/json".to_owned(),
        format!("content-length: {}", body.len()),
        key.clone(),
    ];
    let ask = async |more: &str| {
        let head = format!("POST /v1/verify HTTP/1.1\r\n{}\r\n{more}\r\n{body}", plain.join("\r\n"));
        exchange(gateway.public, head).await
    };
    for (name, more) in [
        ("authorization", "authorization: Bearer other\r\n"),
        ("authorization", &*format!("{key}\r\n")),
        ("content-type", "content-type: text/plain\r\n"),
        ("host", "host: elsewhere.example\r\n"),
        ("x-acs-action", "x-acs-action: one\r\nx-acs-action: other\r\n"),
    ] {
        let answer = ask(more).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert!(answer.contains(&format!("the header {name} has two values")), "{name}: {answer}");
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 0, "nothing was done");
    assert!(ask("").await.starts_with("HTTP/1.1 200 "));
    let admin =
        |more: &str| format!("GET /v1/status HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{operator_key}\r\n{more}\r\n");
    assert!(exchange(gateway.admin, admin("")).await.starts_with("HTTP/1.1 200 "));
    let refused = exchange(gateway.admin, admin(&format!("{operator_key}\r\n"))).await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("repeated_header"), "{refused}");
}

#[tokio::test]
async fn a_host_beside_another_authority_is_refused() {
    let authority = Authority::new("ours");
    let sections = ["tls", "admin_tls"].map(|name| authority.server().section(name, ""));
    let gateway = TestGateway::new().over(sections.concat()).http(authority.http(None)).start().await;
    for (addr, path) in [(gateway.public, "/v1/verify"), (gateway.public, "/idcard"), (gateway.admin, "/v1/status")] {
        let stream = TcpStream::connect(addr).await.unwrap();
        let stream = over_tls(&authority.connector(None, &[b"h2"]), stream).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        for (host, is_refused) in [("elsewhere.example", true), ("LOCALHOST", false)] {
            let head = Request::get(format!("https://localhost{path}")).header("host", host).body(()).unwrap();
            let mut ready = send.clone().ready().await.unwrap();
            let response = ready.send_request(head, true).unwrap().0.await.unwrap();
            let status = response.status().as_u16();
            let mut body = response.into_body();
            let mut text = Vec::<u8>::new();
            while let Some(piece) = body.data().await {
                let piece: Bytes = piece.unwrap();
                text.extend_from_slice(&piece);
            }
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text.contains("two_hosts") && status == 400, is_refused, "{path} {host}: {status} {text}");
        }
        driver.abort();
    }
}
