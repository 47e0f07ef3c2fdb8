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

/// The purpose of a question that names none.
pub const DEFAULT_PURPOSE: &str = "default";

/// A larger weight would leave the others less than a thousandth.
const LARGEST_WEIGHT: u32 = 1000;

/// The name of the client used when none is configured.
pub const ANONYMOUS: &str = "anonymous";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Two keys at a time allow a rotation.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    /// Keys issued to it for providers' protocols. Parsed separately, because each scheme has its own list in the
    /// section.
    #[serde(skip)]
    pub issued: Vec<IssuedConfig>,
    #[serde(default = "default_purposes")]
    pub purposes: Vec<String>,
    #[serde(default = "default_rate")]
    pub rate_limit: NonZeroU32,
    /// Requests allowed at once after a pause; defaults to `rate_limit`.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// Its share of everything that clients share, relative to the others' weights.
    #[serde(default = "default_weight")]
    pub weight: NonZeroU32,
    /// Questions per day in China; unlimited if not set.
    #[serde(default)]
    pub daily_cap: Option<NonZeroU32>,
    /// Whether it may force a fresh answer although one is cached.
    #[serde(default = "yes")]
    pub no_cache: bool,
    /// The maximum age of an answer it may get; unlimited if not set.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub longest_max_age: Option<Duration>,
    /// Whether it may get the fields derived from the ID number.
    #[serde(default = "yes")]
    pub include_person: bool,
    /// The maximum cost of its calls; unlimited if not set.
    #[serde(default)]
    pub budget: Option<Budget>,
}

/// One entry in the list of its scheme. The secret of a signing scheme is read separately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedConfig {
    /// The kind of credential; `scheme.issued` names the list.
    pub scheme: &'static Scheme,
    /// Index in the list.
    pub index: usize,
    /// Public: appears in logs, and in signed requests.
    pub id: String,
    /// SHA-256 of a bearer secret, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// The purpose of its questions; if not set, they are treated like questions that name none.
    pub purpose: Option<String>,
    /// Refused from this time on (RFC 3339).
    pub expires: Option<Timestamp>,
}

fn default_purposes() -> Vec<String> {
    vec![DEFAULT_PURPOSE.to_owned()]
}

const fn yes() -> bool {
    true
}

const fn default_weight() -> NonZeroU32 {
    NonZeroU32::MIN
}

const fn default_rate() -> NonZeroU32 {
    match NonZeroU32::new(1000) {
        Some(rate) => rate,
        None => NonZeroU32::MIN,
    }
}

impl ClientConfig {
    /// All errors, as (key, problem and remedy).
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut mistakes = validate_keys(&self.keys, "idgate key new NAME");
        mistakes.extend(CertificateConfig::validate(&self.certificates));
        mistakes.extend(self.validate_issued());
        if self.keys.is_empty() && self.certificates.is_empty() && !self.has_issued() {
            let text = "is empty, and so is `certificates`; `idgate key new NAME` prints a line for it";
            mistakes.push(("keys".to_owned(), text.to_owned()));
        }
        if self.purposes.is_empty() {
            mistakes.push(("purposes".to_owned(), "is empty; write [\"default\"] or leave it out".to_owned()));
        }
        if self.weight.get() > LARGEST_WEIGHT {
            let text = format!(
                "is more than {LARGEST_WEIGHT}, which leaves next to nothing to the others; write a small number, such \
                 as 4 for four times the share of a client with 1"
            );
            mistakes.push(("weight".to_owned(), text));
        }
        if self.longest_max_age.is_some_and(|age| age > LONGEST_LIFETIME) {
            let text = "is longer than a day, and nothing is remembered for longer; leave it out".to_owned();
            mistakes.push(("longest_max_age".to_owned(), text));
        }
        mistakes
    }

    /// Whether it has any key for a provider's protocol.
    pub fn has_issued(&self) -> bool {
        !self.issued.is_empty()
    }

    /// All errors in the issued keys, as (key, problem and remedy).
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
    /// The configuration key of this entry in the client's section.
    pub fn at(&self) -> String {
        format!("{}[{}]", self.scheme.issued.list, self.index)
    }
}
