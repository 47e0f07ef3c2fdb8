//! Bodies that never end, over HTTP/2: they shut nobody out.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use tokio::net::TcpStream;

use super::{Speaker, one_of_each, right, section, speakers};
use crate::support::TestGateway;
use crate::support::pki::{Authority, over_tls};

/// Requests at once, and more unfinished ones than that.
const MAX_IN_FLIGHT: usize = 160;
const CONNECTIONS: usize = 5;
const STREAMS: usize = 50;

async fn connect(gateway: &TestGateway, authority: &Authority) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(gateway.public).await.unwrap();
    let stream = over_tls(&authority.connector(None, &[b"h2"]), stream).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    send
}

/// Sends the head of `request` and `sent` bytes of its body.
async fn begin(
    send: &SendRequest<Bytes>,
    request: &Request<Bytes>,
    sent: usize,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut head = Request::builder().method(request.method()).uri(request.uri().clone());
    for (name, value) in request.headers().iter().filter(|(name, _)| *name != "host") {
        head = head.header(name, value);
    }
    let mut ready = send.clone().ready().await.unwrap();
    let (response, mut body) = ready.send_request(head.body(()).unwrap(), false).unwrap();
    // On a busy machine a stranger may be sent away before it has sent more than its head.
    let _ = body.send_data(request.body().slice(..sent), false);
    (response, body)
}

fn over_https(mut request: Request<Bytes>) -> Request<Bytes> {
    *request.uri_mut() = request.uri().to_string().replacen("http://", "https://", 1).parse().unwrap();
    request
}

fn is_answered<T>(response: &Response<T>) -> bool {
    response.status() == 200 && response.headers().contains_key("x-idgate-verification-id")
}

async fn ask(gateway: &TestGateway, speaker: &Speaker) -> reqwest::Response {
    let request = over_https(speaker.request(gateway, &right()));
    gateway.http.execute(reqwest::Request::try_from(request).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_bodies_of_strangers_shut_no_caller_out() {
    let authority = Authority::new("ours");
    let tls = authority.server().section("tls", "");
    let server = format!("[server]\nmax_in_flight = {MAX_IN_FLIGHT}\nbody_timeout = \"10m\"\n");
    let gateway =
        TestGateway::new().over(format!("{server}{tls}{}", section(""))).http(authority.http(None)).start().await;
    let posts = |speaker: &Speaker| speaker.request(&gateway, &right()).method() == Method::POST;
    let caller = one_of_each().into_iter().find(posts).expect("a protocol with a body");

    // A caller whose key is known and who sends slowly.
    let slow = over_https(caller.request(&gateway, &right()));
    let connection = connect(&gateway, &authority).await;
    let (slow_answer, mut slow_body) = begin(&connection, &slow, 1).await;

    let mut strangers = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = connect(&gateway, &authority).await;
        for _ in 0..STREAMS {
            let stranger = over_https(caller.of("-unknown").request(&gateway, &right()));
            strangers.push(begin(&connection, &stranger, 3).await);
        }
    }
    // The room is full once somebody is sent away: nothing else ends such a body.
    let (answers, _bodies): (Vec<_>, Vec<_>) = strangers.into_iter().unzip();
    let (sent_away, _, others): (Result<Response<RecvStream>, _>, _, _) =
        futures_util::future::select_all(answers).await;
    assert!(!sent_away.unwrap().status().is_success());

    for speaker in speakers() {
        for _ in 0..3 {
            let response = ask(&gateway, &speaker).await;
            let (status, answered) = (response.status(), response.headers().contains_key("x-idgate-verification-id"));
            assert!(status == 200 && answered, "{}: {status} {}", speaker.label(), response.text().await.unwrap());
        }
    }
    // Who has no key yet is asked for one, and not refused for want of room.
    let unknown = ask(&gateway, &caller.of("-unknown")).await;
    assert_eq!(unknown.status().as_u16(), caller.says("unknown_key").0, "{unknown:?}");
    slow_body.send_data(slow.body().slice(1..), true).unwrap();
    let slow_answer = slow_answer.await.unwrap();
    assert!(is_answered(&slow_answer), "{slow_answer:?}");
    drop(others);
}
