//! Requests that are barely HTTP, or not HTTP at all, on raw sockets.
//!
//! What the HTTP parser refuses gets a bare status without a body, because none of our code has run yet.

use super::{PATIENCE, Raw};
use crate::support::{TestGateway, anybody};

#[tokio::test]
async fn what_is_not_http_is_refused_in_a_word_and_never_quoted() {
    let gateway = TestGateway::new().start().await;
    for nonsense in [
        "\0\0\0\0\r\n\r\n",
        "11010519491231002X\r\n\r\n",
        "POST  /v1/verify\r\n\r\n",
        "POST /v1/verify HTTP/1.1\r\nna me: 11010519491231002X\r\n\r\n",
        "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-length: x11010519491231002X\r\n\r\n",
        "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        "POST /v1/verify HTTP/1.1\r\nhost: a\r\ntransfer-encoding: 11010519491231002X\r\n\r\n",
        "POST /v1/verify HTTP/9.9\r\n\r\n",
    ] {
        let mut raw = Raw::to(&gateway).await;
        raw.say(nonsense).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer}");
        assert!(!answer.contains("11010519491231002X"), "{answer}");
    }
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
}

#[tokio::test]
async fn a_greeting_in_another_protocol_ends_the_connection() {
    let gateway = TestGateway::new().start().await;
    for greeting in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut raw = Raw::to(&gateway).await;
        raw.say(greeting).await;
        let answer = raw.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_no_buffer_holds_is_answered_431_and_one_below_with_a_problem() {
    let gateway = TestGateway::new().start().await;
    for (length, with_problem) in [(17_000, true), (60_000, true), (70_000, false)] {
        let mut raw = Raw::to(&gateway).await;
        let head = format!(
            "POST /v1/verify HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\nlong: {}\r\ncontent-length: 2\r\n\r\n{{}}",
            "a".repeat(length)
        );
        // The gateway may close before the whole request is written.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, head.as_bytes()).await;
        let mut got = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut raw.0, &mut got);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("it closes");
        let answer = String::from_utf8(got).unwrap();
        if with_problem {
            assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("headers_too_large"), "{length}: {answer}");
        } else {
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{length}: {answer}");
        }
    }
}

#[tokio::test]
async fn bodies_may_come_in_chunks_and_several_requests_at_once() {
    let gateway = TestGateway::new().start().await;
    let body = anybody().body().to_string();
    let head = "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut raw = Raw::to(&gateway).await;
    raw.say(format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
    for piece in body.as_bytes().chunks(7) {
        raw.say(format!("{:x}\r\n", piece.len())).await;
        raw.say(piece).await;
        raw.say("\r\n").await;
    }
    raw.say("0\r\n\r\n").await;
    assert_eq!(raw.answer().await.0, 200);
    // The second of the two closes the connection, so that both can be read to the end.
    let last = whole.replacen("host: a", "host: a\r\nconnection: close", 1);
    raw.say(format!("{whole}{last}")).await;
    assert_eq!(raw.rest().await.matches("\"verdict\":\"match\"").count(), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_chunked_wrongly_is_malformed() {
    let gateway = TestGateway::new().start().await;
    let mut raw = Raw::to(&gateway).await;
    raw.say("POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        .await;
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"reason\":\"incomplete\""), "{answer}");
}
