//! `[tracing]`: where spans are sent, and how many.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;

use crate::app::config::draft::Draft;
use crate::app::config::sections::secret::TRACING_HEADERS;
use crate::domain::personal::Secret;

/// Section `[tracing]` as written. Without an endpoint nothing is traced.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app::config) struct Section {
    #[serde(default)]
    endpoint: Option<String>,
    ratio: f64,
    queue: usize,
    #[serde(with = "friendly")]
    timeout: Duration,
}

/// Section `[tracing]`, checked, with its headers.
#[derive(Clone)]
pub struct Tracing {
    pub endpoint: String,
    /// The share of requests that are traced without a caller that says so.
    pub ratio: f64,
    /// The most requests that wait to be sent.
    pub queue: usize,
    /// The most that sending may take.
    pub timeout: Duration,
    /// Names, and values that may be secret.
    pub headers: Vec<(String, Secret)>,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, ratio, queue, timeout, headers } = self;
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Tracing")
            .field("endpoint", endpoint)
            .field("ratio", ratio)
            .field("queue", queue)
            .field("timeout", timeout)
            .field("headers", &names)
            .finish()
    }
}

/// The validated section; `None` if nothing is traced.
pub(in crate::app::config) fn finish(section: &Section, read: &mut Draft) -> Option<Tracing> {
    let Section { endpoint, ratio, queue, timeout } = section;
    let secret = read.secrets.remove(TRACING_HEADERS);
    if !(0.0..=1.0).contains(ratio) {
        read.mistake("tracing.ratio", "is not from 0 to 1; write 0.01 for one request of a hundred");
    }
    if !(1..=100_000).contains(queue) {
        read.mistake("tracing.queue", "is not from 1 to 100000; write 2048");
    }
    if !(Duration::from_millis(100)..=Duration::from_secs(30)).contains(timeout) {
        read.mistake("tracing.timeout", "is not from 100ms to 30s; write \"5s\"");
    }
    let Some(endpoint) = endpoint else {
        if secret.is_some() {
            let problem = "is set, and tracing.endpoint is not; write the URL of the collector, or leave both out";
            read.mistake(TRACING_HEADERS, problem);
        }
        return None;
    };
    // An URL may have a password in it, so it is not quoted.
    let is_sound = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.path().len() > 1
    };
    if !endpoint.parse().is_ok_and(|uri| is_sound(&uri)) {
        let problem = "is no URL with a path and without a password; write \"http://127.0.0.1:4318/v1/traces\"";
        read.mistake("tracing.endpoint", problem);
    }
    let headers = secret.as_ref().map_or(Some(Vec::new()), headers);
    if headers.is_none() {
        let problem = "has a line that is no header; write lines like \"Authorization: Bearer …\"";
        read.mistake(TRACING_HEADERS, problem);
    }
    let (endpoint, headers) = (endpoint.clone(), headers?);
    Some(Tracing { endpoint, ratio: *ratio, queue: *queue, timeout: *timeout, headers })
}

/// The headers of a secret with one `Name: value` a line.
fn headers(secret: &Secret) -> Option<Vec<(String, Secret)>> {
    let lines = secret.expose().lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            let (name, value) = (name.trim(), value.trim());
            HeaderName::from_bytes(name.as_bytes()).ok()?;
            HeaderValue::from_str(value).ok()?;
            Some((name.to_owned(), Secret::new(value)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_and_never_shown() {
        let found = headers(&Secret::new("Authorization: Bearer a:b\n\nX-Tenant: one\r\n")).unwrap();
        let told: Vec<_> = found.iter().map(|(name, value)| (&**name, value.expose())).collect();
        assert_eq!(told, [("Authorization", "Bearer a:b"), ("X-Tenant", "one")]);
        for wrong in ["Authorization", "a b: c", "a: b\u{1}"] {
            assert!(headers(&Secret::new(wrong)).is_none(), "{wrong}");
        }
        let tracing =
            Tracing { endpoint: String::new(), ratio: 1.0, queue: 1, timeout: Duration::ZERO, headers: found };
        assert!(!format!("{tracing:?}").contains("Bearer"));
    }
}
