//! Answers that no client should trust, each made from the right one where that makes it more tempting.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use tokio::task::yield_now;
use tokio::time::sleep;

const BIG: usize = 2 * 1024 * 1024;

const HTML_502: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>sandbox</center>\r\n</body>\r\n</html>\r\n";

/// The right answer, one byte per `interval`.
pub(super) fn dripped(right: Response<Bytes>, interval: Duration) -> Response<Body> {
    with_its_length(right, move |body| {
        Body::from_stream(stream::unfold(body, move |mut left| async move {
            sleep(interval).await;
            let drop = left.split_to(left.len().min(1));
            (!drop.is_empty()).then_some((Ok::<_, io::Error>(drop), left))
        }))
    })
}

/// Half of the right answer, announced as the whole.
pub(super) fn truncated(right: Response<Bytes>) -> Response<Body> {
    with_its_length(right, |body| {
        let half = body.slice(..body.len() / 2);
        Body::from_stream(stream::unfold(Some(half), |half| async move {
            match half {
                Some(half) => Some((Ok(half), None)),
                None => {
                    // The half must be on its way before the connection breaks.
                    yield_now().await;
                    Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), None))
                }
            }
        }))
    })
}

/// The right answer, followed by 2 MiB of white space: a client without a cap would believe it.
pub(super) fn big(right: Response<Bytes>) -> Response<Body> {
    with_its_length(
        right.map(|body| {
            let mut padded = BytesMut::from(body);
            padded.resize(padded.len() + BIG, b' ');
            padded.freeze()
        }),
        Body::from,
    )
}

/// The right head, and a body that is no document.
pub(super) fn garbage(right: Response<Bytes>) -> Response<Body> {
    with_its_length(right.map(|_| Bytes::from_static(b"\x00\xff\xfe{]<garbage")), Body::from)
}

/// The right head, and no body.
pub(super) fn empty(right: Response<Bytes>) -> Response<Body> {
    with_its_length(right.map(|_| Bytes::new()), Body::from)
}

/// What a proxy in front says when the provider is gone.
pub(super) fn html_502() -> Response<Body> {
    plain(StatusCode::BAD_GATEWAY, "text/html", HTML_502)
}

/// A status with a short text that no protocol knows.
pub(super) fn status(status: StatusCode) -> Response<Body> {
    plain(status, "text/plain", "sandbox fault")
}

/// Go and ask `elsewhere`, with method, body and signature.
pub(super) fn redirect(elsewhere: SocketAddr, path_and_query: &str) -> Response<Body> {
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "text/plain", "");
    // A path that came in over HTTP goes out again; if it does not, the redirect leads nowhere, which is as bad.
    if let Ok(location) = HeaderValue::try_from(format!("http://{elsewhere}{path_and_query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn plain(status: StatusCode, content_type: &'static str, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Announces the length of the whole body, whatever `deliver` makes of it.
fn with_its_length(response: Response<Bytes>, deliver: impl FnOnce(Bytes) -> Body) -> Response<Body> {
    let length = response.body().len();
    let mut response = response.map(deliver);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
