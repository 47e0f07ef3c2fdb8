//! The upstreams. One folder each: its protocol as four pure functions over bytes, in two pairs that are
//! inverses of each other, so that one codec serves the way out, the drop-in edge and the simulator.
//!
//! ```text
//!                 encode_request            decode_request
//!     Subject  ───────────────▶  bytes  ───────────────▶ (Asked, ReplyTo)
//!                 decode_response           encode_response
//!  Finding/Fault ◀─────────────  bytes  ◀─────────────── (Verdict or Refusal, ReplyTo)
//! ```
//!
//! Invariants: no I/O, no async, no HTTP client, no clock ([`Stamp`] is an argument). A verdict comes only from
//! the documented verdict field; text of the provider's never leaves this module.
//!
//! To add a provider: a folder with `mod.rs` (settings, [`Driver`], the four functions), `wire.rs` (documents) and
//! `codes.rs` (its codes and ours, its word for each cause), one line in [`DRIVERS`], fixtures. The laws in `tests/it/providers/` run over it unasked.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use jiff::Timestamp;

use crate::domain::id_number::Kind;
use crate::domain::money::{Billed, Prices};
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::personal::{Personal, Secret};
use crate::domain::subject::Subject;
use crate::domain::verdict::{Finding, Verdict};

use self::dialect::{Dialect, Told};

pub mod alibaba;
mod aliyun;
mod aliyun_intl;
mod credential;
pub mod dialect;
mod keyring;
mod muzhiyun;
pub mod source;
mod yunyi;

pub use self::credential::{Access, Credential};
pub use self::keyring::{Claim, Keyring, Taken};

/// Every driver. A new provider is one line here.
pub static DRIVERS: &[&Driver] = &[&aliyun::DRIVER, &aliyun_intl::DRIVER, &muzhiyun::DRIVER, &yunyi::DRIVER];

/// The driver of that name, as the configuration's `driver = "…"` gives it.
pub fn driver(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().copied().find(|driver| driver.name == name)
}

/// Our code for one provider's protocol: what it needs to know and what it takes.
#[derive(Debug)]
pub struct Driver {
    /// The name in the configuration.
    pub name: &'static str,
    /// The upstream, for people.
    pub title: &'static str,
    /// The settings that hold secrets (the configuration gives them as `{ env }`, `{ file }` or `{ value }`).
    pub secrets: &'static [&'static str],
    /// The variables of the environment that its own ways to a credential read, as its vendor's clients do.
    pub variables: &'static [&'static str],
    /// Settings that a sandbox may use: synthetic credentials, as `key = value`.
    pub sandbox_settings: &'static [(&'static str, &'static str)],
    /// The kinds of number it takes.
    pub kinds: &'static [Kind],
    /// The longest name it takes, in code points.
    pub name_limit: usize,
    /// Its list price per verdict; zero where it does not bill.
    pub prices: Prices,
    /// Every documented code, ours beside theirs: read by the decoder, the encoder, the simulator and the tests.
    pub codes: &'static [&'static [Code]],
    /// How its requests are recognised where all protocols are spoken, and what it says for want of a verdict.
    pub dialect: Dialect,
    /// Builds the protocol from the driver's own settings, secrets already read; or all mistakes as (key, what to do).
    pub configure: fn(&Settings) -> Result<Configured, Mistakes>,
}

/// What is wrong with a driver's settings, as (key, what to do).
pub type Mistakes = Vec<(&'static str, String)>;

impl Driver {
    /// The driver with its own sandbox settings.
    ///
    /// # Errors
    /// When it does not take them, a defect of the driver's.
    pub fn sandbox(&self) -> Result<Configured, Mistakes> {
        let mut settings = Settings::default();
        for &(key, value) in self.sandbox_settings {
            if self.secrets.contains(&key) {
                settings.secret.insert(key.to_owned(), Secret::new(value));
            } else {
                settings.plain.insert(key.to_owned(), value.to_owned());
            }
        }
        (self.configure)(&settings)
    }

    /// Every documented code of this driver.
    pub fn all_codes(&self) -> impl Iterator<Item = &'static Code> {
        self.codes.iter().flat_map(|table| table.iter())
    }
}

/// The driver's own keys of a provider's section, after the secrets have been read.
#[derive(Debug, Default)]
pub struct Settings {
    /// Plain text settings by key.
    pub plain: std::collections::BTreeMap<String, String>,
    /// Secret settings by key (those that [`Driver::secrets`] names).
    pub secret: std::collections::BTreeMap<String, Secret>,
    /// Those of [`Driver::variables`] that are set.
    pub variables: std::collections::BTreeMap<String, Secret>,
}

/// What [`Driver::configure`] builds.
#[derive(Debug, Clone)]
pub struct Configured {
    /// The four functions.
    pub protocol: Arc<dyn Protocol>,
    /// How we come by what signs the requests.
    pub access: Access,
}

/// When a request is made, and the value that makes it unique.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The wall-clock time to sign.
    pub now: Timestamp,
    /// Unique per request.
    pub nonce: String,
}

/// Where a provider is reached: `https://host[:port]`, or plain `http` on loopback.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: http::uri::Scheme,
    authority: http::uri::Authority,
}

impl Endpoint {
    /// Reads `https://host[:port]`.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|_| "is not a URL; write \"https://host\"".to_owned())?;
        let (Some(scheme), Some(authority)) = (uri.scheme().cloned(), uri.authority().cloned()) else {
            return Err("needs a scheme and a host; write \"https://host\"".to_owned());
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err("must be scheme and host only; the driver knows the path".to_owned());
        }
        let endpoint = Self { scheme, authority };
        match endpoint.scheme.as_str() {
            "https" => Ok(endpoint),
            "http" if endpoint.is_loopback() => Ok(endpoint),
            "http" => Err("is plain http, which is for loopback addresses only; write \"https://…\"".to_owned()),
            _ => Err("must begin with https://".to_owned()),
        }
    }

    /// Host, and port if it is not the default one: the `Host` header, and the label in metrics.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Whether what is sent there is encrypted.
    pub fn is_https(&self) -> bool {
        self.scheme == http::uri::Scheme::HTTPS
    }

    /// Whether it names this machine.
    pub fn is_loopback(&self) -> bool {
        self.authority.host().eq_ignore_ascii_case("localhost") || self.address().is_some_and(|ip| ip.is_loopback())
    }

    /// Its address, where that is written down instead of a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.authority.host().trim_matches(['[', ']']).parse().ok()
    }

    /// Whether it is asked over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == http::uri::Scheme::HTTPS
    }

    /// The absolute URI of `path_and_query` at this endpoint.
    ///
    /// # Errors
    /// When `path_and_query` is not one; the codecs percent-encode, so that is a bug of theirs.
    pub fn uri(&self, path_and_query: &str) -> Result<http::Uri, http::Error> {
        http::Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// The pair as a request carries it: not validated, as whoever asked wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The name.
    pub name: Personal,
    /// The ID number.
    pub id_number: Personal,
}

/// What an answer must repeat or be shaped by.
#[derive(Debug, Clone)]
pub struct ReplyTo {
    /// The reference that this call is given.
    pub request_id: String,
    /// The host that was asked.
    pub host: String,
    /// Whether the caller wants XML (RPC only).
    pub xml: bool,
    /// What the caller asked, where it could be read.
    pub asked: Option<Asked>,
    /// What goes with a verdict where the protocol says it; if nobody says otherwise, what [`Told::by`] makes of the number.
    pub told: Option<Told>,
}

/// What a provider says to a caller it does not serve: one documented code of its table.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Which row.
    pub code: &'static Code,
    /// How long the caller should stay away.
    pub retry_after: Option<Duration>,
}

/// One documented word of a provider and what it means to us. Rows are read in both directions.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The code on the wire, or the beginning of the text where the provider has only texts.
    pub code: &'static str,
    /// The HTTP status it comes with.
    pub status: u16,
    /// The text that the provider documents beside it; a simulator sends it.
    pub message: &'static str,
    /// What it means to us.
    pub outcome: Outcome,
    /// The finer cause.
    pub reason: Reason,
    /// Whether it is billed, where that is known better than [`Outcome::rule`] says.
    pub billed: Option<Billed>,
}

impl Code {
    /// A row billed as the outcome table says.
    pub const fn new(code: &'static str, status: u16, message: &'static str, outcome: Outcome, reason: Reason) -> Self {
        Self { code, status, message, outcome, reason, billed: None }
    }

    /// The fault that a caller of the provider makes of this row.
    pub fn fault(&self) -> Fault {
        let plain = Fault::new(self.outcome, self.reason);
        Fault { code: Some(self.code), billed: self.billed.unwrap_or(plain.billed), ..plain }
    }
}

/// A provider's protocol. Implementations hold settings, never state, and never a credential.
pub trait Protocol: fmt::Debug + Send + Sync {
    /// The request that asks `endpoint` about `subject`, signed with `credential`.
    ///
    /// # Errors
    /// When the parts do not make an HTTP request, or the credential is of a kind the driver cannot sign with;
    /// nothing has been sent then.
    fn encode_request(
        &self,
        subject: &Subject,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, http::Error>;

    /// What the provider's answer means.
    ///
    /// # Errors
    /// Everything but a documented verdict about this very `subject` is a [`Fault`].
    fn decode_response(&self, subject: &Subject, response: &Response<Bytes>) -> Result<Finding, Fault>;

    /// Reads a request as the provider does, its signature checked against `keys` and `now`.
    ///
    /// Never fails: a caller that is refused still gets an answer shaped by [`ReplyTo`].
    fn decode_request(
        &self,
        request: &Request<Bytes>,
        keys: &dyn Keyring,
        stamp: &Stamp,
    ) -> (Result<Asked, Refusal>, ReplyTo);

    /// The provider's answer, byte for byte in its dialect.
    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes>;

    /// The answer of a simulator that mixes people up: a good answer, about `other`.
    ///
    /// Only for protocols that echo the person; the rest return `None`.
    fn encode_wrong_echo(&self, _verdict: Verdict, _reply_to: &ReplyTo, _other: &Asked) -> Option<Response<Bytes>> {
        None
    }
}

/// Whether a status is a redirect. None is followed: a signed request must not be replayed elsewhere.
pub fn is_redirect(status: StatusCode) -> bool {
    status.is_redirection()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in ["https://cloudauth.aliyuncs.com", "http://127.0.0.1:8080", "http://localhost:1/", "http://[::1]:1"]
        {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1", "ftp://127.0.0.1", "cloudauth.aliyuncs.com", "https://h/path", "https://u@h", ""]
        {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
