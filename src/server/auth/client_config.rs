//! Section `[clients.NAME]`: a client's keys, purposes, rights, rate and budget.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::certificates::CertificateConfig;
use super::key_config::{KeyConfig, parse_hash, validate_keys};
use crate::providers::Scheme;
use crate::storage::LONGEST_LIFETIME;
use crate::verify::billing::Budget;

/// The purpose of a question without one.
pub const DEFAULT_PURPOSE: &str = "default";

/// The client of every request if none is configured.
pub const ANONYMOUS: &str = "anonymous";

/// Section `[clients.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its keys; two at a time allow a rotation.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// Its client certificates.
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    /// Keys issued to it for providers' protocols, read apart: each scheme has a list of its own in the section.
    #[serde(skip)]
    pub issued: Vec<IssuedConfig>,
    /// The purposes it may ask for.
    #[serde(default = "default_purposes")]
    pub purposes: Vec<String>,
    /// Requests per second, on average.
    #[serde(default = "default_rate")]
    pub rate_limit: NonZeroU32,
    /// Requests at once after a pause; `rate_limit` if not set.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// Questions per day in China; no limit if not set.
    #[serde(default)]
    pub daily_cap: Option<NonZeroU32>,
    /// Whether it may ask for a fresh answer although one is cached.
    #[serde(default = "yes")]
    pub no_cache: bool,
    /// The oldest answer it may get; no limit if not set.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub longest_max_age: Option<Duration>,
    /// Whether it may get the fields derived from the number.
    #[serde(default = "yes")]
    pub include_person: bool,
    /// The most its calls may cost; no limit if not set.
    #[serde(default)]
    pub budget: Option<Budget>,
}

/// One entry of the list of its scheme. The secret of a scheme that signs is read apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedConfig {
    /// What kind of credential it is; its `issued` names the list.
    pub scheme: &'static Scheme,
    /// Its place in the list.
    pub index: usize,
    /// Public: it stands in logs, and in requests where they are signed.
    pub id: String,
    /// SHA-256 of a secret that is shown, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// What its questions are for; without it as for a question that names no purpose.
    pub purpose: Option<String>,
    /// From then on it is refused (RFC 3339).
    pub expires: Option<Timestamp>,
}

fn default_purposes() -> Vec<String> {
    vec![DEFAULT_PURPOSE.to_owned()]
}

const fn yes() -> bool {
    true
}

const fn default_rate() -> NonZeroU32 {
    match NonZeroU32::new(1000) {
        Some(rate) => rate,
        None => NonZeroU32::MIN,
    }
}

impl ClientConfig {
    /// All mistakes, as (key, problem and remedy).
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut mistakes = validate_keys(&self.keys);
        mistakes.extend(CertificateConfig::validate(&self.certificates));
        mistakes.extend(self.validate_issued());
        if self.keys.is_empty() && self.certificates.is_empty() && !self.has_issued() {
            let text = "is empty, and so is `certificates`; `idgate key new CLIENT` prints a line for it";
            mistakes.push(("keys".to_owned(), text.to_owned()));
        }
        if self.purposes.is_empty() {
            mistakes.push(("purposes".to_owned(), "is empty; write [\"default\"] or leave it out".to_owned()));
        }
        if self.longest_max_age.is_some_and(|age| age > LONGEST_LIFETIME) {
            let text = "is longer than a day, and nothing is remembered for longer; leave it out".to_owned();
            mistakes.push(("longest_max_age".to_owned(), text));
        }
        mistakes
    }

    /// Whether it has any key of a provider's protocol.
    pub fn has_issued(&self) -> bool {
        !self.issued.is_empty()
    }

    /// All mistakes of its issued keys, as (key, problem and remedy).
    fn validate_issued(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        for key in &self.issued {
            let (at, scheme) = (key.at(), key.scheme);
            let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
            if key.id.is_empty() || key.id.len() > 64 || !key.id.bytes().all(is_plain) {
                let text = "must be 1 to 64 visible ASCII characters without a comma; it stands in logs";
                mistakes.push((format!("{at}.{}", scheme.issued.id), text.to_owned()));
            }
            if key.purpose.as_ref().is_some_and(|purpose| !self.purposes.contains(purpose)) {
                let text = "is not one of this client's purposes; correct it, or add it to `purposes`".to_owned();
                mistakes.push((format!("{at}.purpose"), text));
            }
            let can_be_left_out = self.purposes.len() == 1 || self.purposes.iter().any(|own| own == DEFAULT_PURPOSE);
            if key.purpose.is_none() && !can_be_left_out {
                let text = "is missing, and its callers cannot name one of this client's several purposes, so that they \
                            could never ask; write purpose = \"…\"";
                mistakes.push((format!("{at}.purpose"), text.to_owned()));
            }
            if key.sha256.as_ref().is_some_and(|hash| parse_hash(hash).is_none()) {
                let text = format!(
                    "is not a SHA-256 in 64 hexadecimal digits; `idgate key new CLIENT --kind {}` prints one",
                    scheme.name
                );
                mistakes.push((format!("{at}.sha256"), text));
            }
        }
        mistakes
    }
}

impl IssuedConfig {
    /// Its key in the client's section.
    pub fn at(&self) -> String {
        format!("{}[{}]", self.scheme.issued.list, self.index)
    }
}
