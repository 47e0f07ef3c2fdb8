//! Keys from a URI: a local helper or an internal service.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, Uri};

use super::answer::{CodeRule, Keys};
use crate::providers::source::{Ask, Step};

/// The vendor's clients wait at most 5 s to connect and 10 s to read.
const LIMIT: Duration = Duration::from_secs(15);

/// The address of the helper. Its path or query may act as the only secret, so it is not shown.
#[derive(Clone)]
pub struct KeysUri(Uri);

impl KeysUri {
    /// Parses `https://host/path`, or plain `http` to a loopback or link-local address.
    ///
    /// # Errors
    /// A sentence that says what to write instead, without quoting the input.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "is not a URL; write \"https://host/path\"".to_owned())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("needs a scheme and a host; write \"https://host/path\"".to_owned());
        };
        if authority.as_str().contains('@') {
            return Err("has a user or password in it, which no client of this kind sends; take it out".to_owned());
        }
        match scheme {
            "https" => Ok(Self(uri)),
            "http" if is_near(authority.host()) => Ok(Self(uri)),
            "http" => {
                Err("is plain http, which is for loopback and link-local addresses only, because keys come back; \
                           write \"https://…\""
                    .to_owned())
            }
            _ => Err("must begin with https://".to_owned()),
        }
    }
}

impl fmt::Debug for KeysUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysUri(…)")
    }
}

/// Whether the host is loopback or link-local.
fn is_near(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|ip| match ip {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
        })
}

/// Fetches the keys from `place`.
pub(super) fn begin(source: &'static str, place: KeysUri) -> Step {
    let is_local = place.0.scheme_str() == Some("http");
    let compose = move |_: &_| {
        let host = place.0.authority().map_or("", |authority| authority.as_str()).to_owned();
        Ok(Request::get(place.0).header(HOST, host).header(ACCEPT, "application/json").body(Bytes::new())?)
    };
    let ask = Ask { compose: Box::new(compose), limit: LIMIT, is_local, explain: |_| None };
    Step::ask(source, ask, move |body, now| Keys::read(body, CodeRule::IfPresent)?.granted(source, now).map(Step::Done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_what_is_near() {
        for good in [
            "https://keys.example/creds?scope=idv",
            "http://127.0.0.1:8080/creds",
            "http://localhost/",
            "http://[::1]:80/x",
            "http://169.254.3.4/x",
        ] {
            assert!(KeysUri::parse(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1/x", "http://keys.example/", "ftp://127.0.0.1/", "/creds", "https://u:p@h/", ""] {
            let problem = KeysUri::parse(bad).unwrap_err();
            assert!(bad.is_empty() || !problem.contains(bad), "{problem}");
        }
    }
}
