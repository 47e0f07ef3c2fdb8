//! The ECS metadata service: a PUT for a token, a GET for the role name unless it is configured, a GET for the keys.
//!
//! If the token request fails, falls back to version 1 (no token) unless that is disabled. Version 2 protects against
//! server-side request forgery, which cannot obtain a token. One token is used for both GETs; the vendor's client
//! fetches one for each.

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request};
use zeroize::Zeroizing;

use super::answer::{CodeRule, Keys};
use crate::domain::personal::Secret;
use crate::providers::Endpoint;
use crate::providers::codec::text;
use crate::providers::source::{Ask, MissReason, Step};

/// Path of the token.
pub const TOKEN_PATH: &str = "/latest/api/token";
/// Path of the role name; the keys are below it.
pub const ROLES_PATH: &str = "/latest/meta-data/ram/security-credentials/";
/// Token lifetime in seconds, the maximum that the service grants.
pub const TOKEN_TTL: &str = "21600";
pub const TOKEN_TTL_HEADER: HeaderName = HeaderName::from_static("x-aliyun-ecs-metadata-token-ttl-seconds");
pub const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aliyun-ecs-metadata-token");
/// The vendor's clients use 1 s to connect and 1 s to read. Outside the cloud this address does not respond.
const LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct Metadata {
    pub endpoint: Endpoint,
    /// The role name; fetched if absent.
    pub role: Option<String>,
    /// Whether version 1 (no token) is allowed as a fallback.
    pub allow_v1: bool,
}

/// Fetches the keys of the instance role.
pub(super) fn begin(source: &'static str, metadata: Metadata) -> Step {
    let with_token = metadata.clone();
    let token = ask(&metadata.endpoint, Method::PUT, TOKEN_PATH, None);
    let version_2 = Step::ask(source, token, move |body, _| {
        let token = Secret::new(word(body)?.as_str());
        Ok(role(source, with_token, Some(token)))
    });
    if metadata.allow_v1 { version_2.or_else(move || role(source, metadata, None)) } else { version_2 }
}

fn role(source: &'static str, metadata: Metadata, token: Option<Secret>) -> Step {
    match metadata.role.clone() {
        Some(role) => keys(source, &metadata, &role, token),
        None => {
            let question = ask(&metadata.endpoint, Method::GET, ROLES_PATH, token.clone());
            Step::ask(source, question, move |body, _| Ok(keys(source, &metadata, &word(body)?, token)))
        }
    }
}

fn keys(source: &'static str, metadata: &Metadata, role: &str, token: Option<Secret>) -> Step {
    if !is_role(role) {
        return Step::failed(source, MissReason::Garbage);
    }
    let question = ask(&metadata.endpoint, Method::GET, &format!("{ROLES_PATH}{role}"), token);
    Step::ask(source, question, move |body, now| {
        Keys::read(body, CodeRule::Required)?.granted(source, now).map(Step::Done)
    })
}

/// Whether the text is a valid role name and safe as a path segment.
pub(super) fn is_role(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    (1..=64).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('.')
}

fn ask(endpoint: &Endpoint, method: Method, path: &str, token: Option<Secret>) -> Ask {
    let (endpoint, path) = (endpoint.clone(), path.to_owned());
    let compose = move |_: &_| {
        let mut request = Request::builder().method(method.clone()).uri(endpoint.uri(&path)?);
        request = request.header(HOST, endpoint.authority());
        if method == Method::PUT {
            request = request.header(TOKEN_TTL_HEADER, TOKEN_TTL);
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose())?;
            value.set_sensitive(true);
            request = request.header(TOKEN_HEADER, value);
        }
        Ok(request.body(Bytes::new())?)
    };
    Ask { compose: Box::new(compose), limit: LIMIT, is_local: true, explain: |_| None }
}

fn word(body: &[u8]) -> Result<Zeroizing<String>, MissReason> {
    let text = text::utf8(body).ok_or(MissReason::Garbage)?.trim();
    match text {
        "" => Err(MissReason::MissingField),
        _ if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(MissReason::Garbage),
    }
}
