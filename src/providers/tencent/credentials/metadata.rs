//! The metadata service of a CVM instance: the role name, then its keys.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;

use super::answer;
use crate::providers::Endpoint;
use crate::providers::codec::text;
use crate::providers::source::{Ask, MissReason, Step};

/// Path of the role name; the keys are below it.
pub(super) const PATH: &str = "/latest/meta-data/cam/security-credentials/";
/// The service runs on the instance's own host. The vendor's clients set no timeout.
const LIMIT: Duration = Duration::from_secs(1);

/// Fetches the keys of the instance role.
pub(super) fn begin(source: &'static str, endpoint: Endpoint, role: Option<String>) -> Step {
    match role {
        Some(role) => keys(source, &endpoint, &role),
        None => Step::ask(source, ask(&endpoint, PATH.to_owned()), move |body, _| {
            let role = text::utf8(body).ok_or(MissReason::Garbage)?.trim();
            Ok(keys(source, &endpoint, role))
        }),
    }
}

fn keys(source: &'static str, endpoint: &Endpoint, role: &str) -> Step {
    if !is_role(role) {
        return Step::failed(source, MissReason::Garbage);
    }
    Step::ask(source, ask(endpoint, format!("{PATH}{role}")), move |body, now| answer::read_flat(source, body, now))
}

/// Whether the text is a valid role name and safe as a path segment.
pub(super) fn is_role(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    (1..=128).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('.')
}

fn ask(endpoint: &Endpoint, path: String) -> Ask {
    let endpoint = endpoint.clone();
    let compose =
        move |_: &_| Ok(Request::get(endpoint.uri(&path)?).header(HOST, endpoint.authority()).body(Bytes::new())?);
    Ask { compose: Box::new(compose), limit: LIMIT, is_local: true, explain: |_| None }
}
