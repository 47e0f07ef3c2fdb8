//! Corrupted answers. Where possible, each is made from the right answer, so that a careless client would accept it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use tokio::task::yield_now;
use tokio::time::sleep;

const BIG: usize = 2 * 1024 * 1024;

/// In UTF-8, and the white space that JSON allows.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf\n\t ";

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

/// The first half of the right answer, with the `Content-Length` of the whole.
pub(super) fn truncated(right: Response<Bytes>) -> Response<Body> {
    with_its_length(right, |body| {
        let half = body.slice(..body.len() / 2);
        Body::from_stream(stream::unfold(Some(half), |half| async move {
            match half {
                Some(half) => Some((Ok(half), None)),
                None => {
                    // Let the first half go out before the connection breaks.
                    yield_now().await;
                    Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), None))
                }
            }
        }))
    })
}

/// The right answer followed by 2 MiB of white space. A client without a size limit would accept it.
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

/// The right answer in another form that HTTP and JSON allow: after a byte order mark and white space, with status 203,
/// and in an unreadable coding unless the request `forbids_codings`.
pub(super) fn other_form(right: Response<Bytes>, forbids_codings: bool) -> Response<Body> {
    let mut response = right.map(|body| Bytes::from([BYTE_ORDER_MARK, &body, b" \r\n"].concat()));
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NON_AUTHORITATIVE_INFORMATION;
    }
    if !forbids_codings {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return garbage(response);
    }
    with_its_length(response, Body::from)
}

/// The right head with a body that is not a valid document.
pub(super) fn garbage(right: Response<Bytes>) -> Response<Body> {
    with_its_length(right.map(|_| Bytes::from_static(b"\x00\xff\xfe{]<garbage")), Body::from)
}

/// The right head with an empty body.
pub(super) fn empty(right: Response<Bytes>) -> Response<Body> {
    with_its_length(right.map(|_| Bytes::new()), Body::from)
}

/// What a reverse proxy sends when the provider is down.
pub(super) fn html_502() -> Response<Body> {
    plain(StatusCode::BAD_GATEWAY, "text/html", HTML_502)
}

/// The given status with a short text body that no protocol understands.
pub(super) fn status(status: StatusCode) -> Response<Body> {
    plain(status, "text/plain", "sandbox fault")
}

/// A 307 to `elsewhere`. A client that follows it resends its method, body and signature.
pub(super) fn redirect(elsewhere: SocketAddr, path_and_query: &str) -> Response<Body> {
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "text/plain", "");
    // A path that arrived over HTTP is a valid header value. If it were not, the redirect would have no target, which
    // is just as wrong.
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

/// Sets `Content-Length` to the length of the whole body, however much of it `deliver` sends.
fn with_its_length(response: Response<Bytes>, deliver: impl FnOnce(Bytes) -> Body) -> Response<Body> {
    let length = response.body().len();
    let mut response = response.map(deliver);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
