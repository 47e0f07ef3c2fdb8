//! Refuses requests that two readers could understand differently: one in front of us and we, or a check and a use.

use http::{HeaderMap, HeaderName, Uri, header};

use super::code::Code;
use super::headers::IDEMPOTENCY_KEY;
use super::problem::{Problem, Refused};

/// Headers with one value, on which something depends here.
const SINGLE: [HeaderName; 4] = [header::AUTHORIZATION, header::CONTENT_TYPE, header::HOST, IDEMPOTENCY_KEY];

/// The headers of the providers' protocols begin with one of these. All of them have one value.
const SINGLE_PREFIXES: [&str; 3] = ["x-acs-", "x-ca-", "x-tc-"];

/// Refuses two values of a header that has one, and a `Host` that is not the host of the request's target.
///
/// # Errors
/// `malformed_request`, with the name of the header.
pub(in crate::server) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
    let host = headers.get(header::HOST);
    if let (Some(authority), Some(host)) = (uri.authority(), host)
        && !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
    {
        let detail = "the header Host names another host than the target (:authority); send one of them";
        return Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "two_hosts", detail)));
    }
    // Nearly all requests have no header twice.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let is_single = |name: &&HeaderName| {
        SINGLE.contains(name) || SINGLE_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    match headers.keys().filter(is_single).find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        None => Ok(()),
        Some(name) => {
            let detail = format!("the header {name} has two values; send it once");
            Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "repeated_header", &detail)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_repeated_is_let_through() {
        let headers = |names: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(HeaderName::from_static(name), "a".parse().unwrap());
            }
            headers
        };
        let check = |names: &[&'static str]| check(&Uri::from_static("/v1/verify"), &headers(names)).is_ok();
        assert!(check(&["accept", "accept", "x-forwarded-for", "x-forwarded-for", "authorization"]));
        for name in ["authorization", "content-type", "host", "idempotency-key", "x-acs-date", "x-ca-key"] {
            assert!(check(&[name]) && !check(&["accept", name, "accept", name]), "{name}");
        }
    }
}
