//! What a browser may send for a page that is not ours. A page cannot read our answers, but it can send requests from an
//! operator's machine, with the certificate of his browser; and a name of its own that it points at our address ("DNS
//! rebinding") makes our answers its own.
//!
//! - Where a request needs no key, the only thing that protects us is the address. Then `Host` must be an address, a name
//!   without a dot (`localhost`, a service name such as `idgate`: nobody else can register those), or one of
//!   `server.hosts`. Where a request needs a key or a certificate, a foreign name helps nobody: a page has no key, and no
//!   certificate of ours fits its name. So Prometheus and probes may use any name there.
//! - What a browser says about a request (`Sec-Fetch-Site`, `Origin`), which no page can change, must be "from here". Only
//!   a link to one of our pages may come from elsewhere.
//! - A change needs something that no page can send without asking first (a preflight, which we never grant): the mark of
//!   our own page, JSON, or a key.

use std::net::Ipv6Addr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// The names by which this process may be asked without a key, beside addresses and names without a dot.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Arc<[String]>);

impl Hosts {
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Refuses a request that needs no key and came under a foreign name.
    ///
    /// # Errors
    /// `forbidden`, with the reason `unknown_host`.
    pub(in crate::server) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        match asked_host(uri, headers) {
            Some(host) if !self.knows(host) => Err(refusal(UNKNOWN_HOST)),
            _ => Ok(()),
        }
    }

    fn knows(&self, host: &str) -> bool {
        if let Some(v6) = host.strip_prefix('[') {
            return v6.split(']').next().is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
        }
        let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        // An IPv4 address is digits and dots in every notation, and no name ends in digits.
        let is_address = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        is_address || !name.contains('.') || name.ends_with(".localhost") || self.0.contains(&name)
    }
}

/// Refuses what a browser sends for a foreign page.
///
/// # Errors
/// `forbidden`, with the reason `foreign_page`, or `no_preflight` for a change that lacks the mark of our own page.
pub(in crate::server) fn check_origin(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    is_page: bool,
) -> Result<(), Refused> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_safe = matches!(*method, Method::GET | Method::HEAD);
    let (site, origin) = (text(&SEC_FETCH_SITE), text(&header::ORIGIN));
    let is_link = is_safe && is_page && text(&SEC_FETCH_MODE) == Some("navigate");
    let is_link = is_link && text(&SEC_FETCH_DEST) == Some("document") && origin.is_none();
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) && !is_link {
        return Err(refusal(FOREIGN_PAGE));
    }
    // A form of a page without a referrer has the origin `null`; the browser's other word says where it is from.
    let is_form = |origin: &str| origin == "null" && site == Some("same-origin");
    if origin.is_some_and(|origin| !is_form(origin) && !is_same(origin, asked_host(uri, headers))) {
        return Err(refusal(FOREIGN_PAGE));
    }
    let is_browser = site.is_some() || origin.is_some() || text(&header::USER_AGENT).is_some_and(is_of_browser);
    if is_safe || !is_browser || site == Some("same-origin") || was_preflighted(headers) {
        return Ok(());
    }
    Err(refusal(NO_PREFLIGHT))
}

/// The host and port that were asked: `:authority` in HTTP/2, `Host` in HTTP/1.1.
fn asked_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or("."));
    host.or_else(|| uri.authority().map(|host| host.as_str()))
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Whether an `Origin` is the host that was asked.
fn is_same(origin: &str, asked: Option<&str>) -> bool {
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let default = if scheme == "https" { ":443" } else { ":80" };
    let plain = |text: &str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    matches!(scheme, "http" | "https") && asked.is_some_and(|asked| plain(asked) == plain(authority))
}

fn is_of_browser(user_agent: &str) -> bool {
    user_agent.starts_with("Mozilla/")
}

/// Whether a browser had to ask first whether it may send this to another origin.
fn was_preflighted(headers: &HeaderMap) -> bool {
    let is_json = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"application/json");
    headers.contains_key(X_REQUESTED_WITH)
        || headers.contains_key(header::AUTHORIZATION)
        || headers.get(header::CONTENT_TYPE).is_some_and(is_json)
}

fn refusal((reason, detail): (&'static str, &str)) -> Refused {
    Box::new(Problem::new(Code::Forbidden).with_error("", reason, detail))
}

const UNKNOWN_HOST: (&str, &str) = (
    "unknown_host",
    "no key is needed here, so the name in the header Host must be an address, a name without a dot, or one of \
     server.hosts; add it there, or configure keys",
);
const FOREIGN_PAGE: (&str, &str) =
    ("foreign_page", "a browser sent this for a page that is not of this address; open /docs/ here, or use curl");
const NO_PREFLIGHT: (&str, &str) = (
    "no_preflight",
    "a browser's change needs a header that no foreign page can send: X-Requested-With, Authorization, or Content-Type: \
     application/json",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_else_may_own_is_refused() {
        let hosts = Hosts::new(&["IDgate.example.com".to_owned()]);
        let check = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            hosts.check(&Uri::from_static("/"), &headers).is_ok()
        };
        for ours in [
            "127.0.0.1:9464",
            "127.0.0.1",
            "10.0.0.7:9464",
            "[::1]:9464",
            "[fd00::7]",
            "localhost:9464",
            "LOCALHOST",
            "localhost.",
            "idgate:9464",
            "idgate.localhost:1",
            "idgate.example.com:9464",
            "IDGATE.example.com",
        ] {
            assert!(check(ours), "{ours}");
        }
        for foreign in [
            "evil.example:9464",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io:9464",
            "x.idgate.example.com",
            "[evil.example]",
            "evil.example.",
        ] {
            assert!(!check(foreign), "{foreign}");
        }
        let http2 = Uri::from_static("https://evil.example/");
        assert!(hosts.check(&http2, &HeaderMap::new()).is_err());
    }
}
