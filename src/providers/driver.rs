//! A driver declares everything that the rest of the gateway needs to know about a provider's protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::code::Code;
use super::credential::{Credential, Field, Part, Scheme};
use super::dialect::Dialect;
use super::protocol::Protocol;
use super::source::Source;
use super::temporary::Place;
use crate::domain::id_number::Kind;
use crate::domain::money::Prices;
use crate::domain::personal::Secret;

/// The implementation and metadata of one provider's protocol.
#[derive(Debug)]
pub struct Driver {
    pub name: &'static str,
    /// A description of the upstream, for messages.
    pub title: &'static str,
    /// The credential kinds that it signs with.
    pub schemes: &'static [&'static Scheme],
    /// The environment variables of its credential sources, the same as in its vendor's clients.
    pub variables: &'static [&'static str],
    /// The keys of its section in plain text, beside its credentials and the keys of every provider.
    pub options: &'static [&'static str],
    /// Settings with synthetic credentials: a sandbox uses the first, tests use all.
    pub samples: &'static [Sample],
    /// The kinds of ID number that it accepts.
    pub kinds: &'static [Kind],
    /// The maximum name length, in code points.
    pub name_limit: usize,
    /// Its list price per verdict; zero where it does not bill.
    pub prices: Prices,
    /// Every documented code, used by the decoder, the encoder, the simulator and the tests.
    pub codes: &'static [&'static [Code]],
    /// Its server side. A driver without one cannot be simulated or served to callers.
    pub dialect: Option<Dialect>,
    /// The services that issue its temporary credentials, for a sandbox.
    pub places: &'static [&'static Place],
    /// Builds the protocol from the driver's own settings. Secrets are already read.
    pub configure: fn(&Settings) -> Result<Configured, Mistakes>,
}

/// The driver settings as `key = value`.
pub type Sample = &'static [(&'static str, &'static str)];

/// The mistakes in a driver's settings, as (key, fix).
pub type Mistakes = Vec<(&'static str, String)>;

impl Driver {
    /// Builds the driver from its first sample.
    ///
    /// # Errors
    /// When the driver rejects its own sample, which is a bug.
    pub fn sandbox(&self) -> Result<Configured, Mistakes> {
        (self.configure)(&self.settings(self.sample()))
    }

    /// The settings that a sandbox uses.
    pub fn sample(&self) -> Sample {
        self.samples.first().copied().unwrap_or_default()
    }

    /// `pairs` as settings, with secrets separated.
    pub fn settings(&self, pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for &(key, value) in pairs {
            if self.is_secret(key) {
                settings.secret.insert(key.to_owned(), Secret::new(value));
            } else {
                settings.plain.insert(key.to_owned(), value.to_owned());
            }
        }
        settings
    }

    /// The keys of secret settings; the configuration gives them as `{ env }`, `{ file }` or `{ value }`.
    pub fn secrets(&self) -> impl Iterator<Item = &'static str> {
        self.fields().filter(|field| field.is_secret).map(|field| field.key)
    }

    pub fn is_secret(&self, key: &str) -> bool {
        self.secrets().any(|secret| secret == key)
    }

    /// Whether the setting is a credential part in plain text.
    pub fn is_public_id(&self, key: &str) -> bool {
        self.fields().any(|field| field.key == key && field.part == Part::Id && !field.is_secret)
    }

    /// The keys of its section, beside those of every provider.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        let credentials = (!self.variables.is_empty()).then_some("credentials");
        let mut keys: Vec<_> = self.fields().map(|field| field.key).chain(self.options.iter().copied()).collect();
        keys.extend(credentials);
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
    }

    pub fn all_codes(&self) -> impl Iterator<Item = &'static Code> {
        self.codes.iter().flat_map(|table| table.iter())
    }

    fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.schemes.iter().flat_map(|scheme| scheme.fields)
    }
}

/// The driver's own keys of a provider section, after secrets are read.
#[derive(Debug, Default)]
pub struct Settings {
    pub plain: BTreeMap<String, String>,
    pub secret: BTreeMap<String, Secret>,
    /// Those of [`Driver::variables`] that are set.
    pub variables: BTreeMap<String, Secret>,
}

impl Settings {
    /// A digest of all settings, equal only for equal settings.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let secrets = self.secret.iter().chain(&self.variables).map(|(key, value)| (key, value.expose()));
        for (key, value) in self.plain.iter().map(|(key, value)| (key, value.as_str())).chain(secrets) {
            hash.update(format!("{}:{key}{}:", key.len(), value.len()));
            hash.update(value);
        }
        hash.finalize().into()
    }
}

/// The result of [`Driver::configure`].
#[derive(Debug, Clone)]
pub struct Configured {
    pub protocol: Arc<dyn Protocol>,
    /// The source of the signing credential.
    pub access: Access,
}

/// The source of a provider's credential.
#[derive(Debug, Clone)]
pub enum Access {
    /// Written in the configuration.
    Given(Credential),
    /// Fetched, and refreshed before it expires.
    Fetched(Arc<dyn Source>),
}

impl Access {
    /// The credential, if it is written in the configuration.
    pub fn given(&self) -> Option<&Credential> {
        match self {
            Self::Given(credential) => Some(credential),
            Self::Fetched(_) => None,
        }
    }
}
