//! What a driver declares: everything that the rest of the gateway knows about a provider's protocol.

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

/// The code for one provider's protocol, with what it needs to know and what it accepts.
#[derive(Debug)]
pub struct Driver {
    /// The name in the configuration.
    pub name: &'static str,
    /// The upstream, for people.
    pub title: &'static str,
    /// The kinds of credential that it signs with.
    pub schemes: &'static [&'static Scheme],
    /// The environment variables that its credential sources read, as its vendor's clients do.
    pub variables: &'static [&'static str],
    /// Settings with synthetic credentials: a sandbox uses the first, tests run over all.
    pub samples: &'static [Sample],
    /// The kinds of number that it accepts.
    pub kinds: &'static [Kind],
    /// The longest name that it accepts, in code points.
    pub name_limit: usize,
    /// Its list price per verdict; zero where it does not bill.
    pub prices: Prices,
    /// Every documented code, ours beside theirs: read by the decoder, the encoder, the simulator and the tests.
    pub codes: &'static [&'static [Code]],
    /// Its server side. Without one it can be asked, but not be simulated or served to callers.
    pub dialect: Option<Dialect>,
    /// The places that hand out its temporary credentials, for a sandbox.
    pub places: &'static [&'static Place],
    /// Builds the protocol from the driver's own settings, secrets already read.
    pub configure: fn(&Settings) -> Result<Configured, Mistakes>,
}

/// Settings of a driver as `key = value`.
pub type Sample = &'static [(&'static str, &'static str)];

/// What is wrong with a driver's settings, as (key, what to do).
pub type Mistakes = Vec<(&'static str, String)>;

impl Driver {
    /// The driver with the settings of its first sample.
    ///
    /// # Errors
    /// When it does not accept them, which is a defect of the driver.
    pub fn sandbox(&self) -> Result<Configured, Mistakes> {
        (self.configure)(&self.settings(self.sample()))
    }

    /// The settings that a sandbox uses.
    pub fn sample(&self) -> Sample {
        self.samples.first().copied().unwrap_or_default()
    }

    /// `pairs` as settings, secrets where they belong.
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

    /// The keys that hold secrets; the configuration gives them as `{ env }`, `{ file }` or `{ value }`.
    pub fn secrets(&self) -> impl Iterator<Item = &'static str> {
        self.fields().filter(|field| field.is_secret).map(|field| field.key)
    }

    /// Whether the setting of that key holds a secret.
    pub fn is_secret(&self, key: &str) -> bool {
        self.secrets().any(|secret| secret == key)
    }

    /// Whether the setting of that key names a credential in plain text.
    pub fn is_public_id(&self, key: &str) -> bool {
        self.fields().any(|field| field.key == key && field.part == Part::Id && !field.is_secret)
    }

    /// Every documented code of this driver.
    pub fn all_codes(&self) -> impl Iterator<Item = &'static Code> {
        self.codes.iter().flat_map(|table| table.iter())
    }

    fn fields(&self) -> impl Iterator<Item = &'static Field> {
        self.schemes.iter().flat_map(|scheme| scheme.fields)
    }
}

/// The driver's own keys of a provider's section, after the secrets have been read.
#[derive(Debug, Default)]
pub struct Settings {
    /// Plain text settings by key.
    pub plain: BTreeMap<String, String>,
    /// Secret settings by key (see [`Driver::secrets`]).
    pub secret: BTreeMap<String, Secret>,
    /// Those of [`Driver::variables`] that are set.
    pub variables: BTreeMap<String, Secret>,
}

impl Settings {
    /// A digest of all of them: equal for equal settings only.
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

/// What [`Driver::configure`] builds.
#[derive(Debug, Clone)]
pub struct Configured {
    /// How the provider is asked.
    pub protocol: Arc<dyn Protocol>,
    /// Where the credential comes from that signs the requests.
    pub access: Access,
}

/// Where the credential of a provider comes from.
#[derive(Debug, Clone)]
pub enum Access {
    /// The configuration has it.
    Given(Credential),
    /// It is fetched, and fetched again before it ends.
    Fetched(Arc<dyn Source>),
}

impl Access {
    /// The credential, if the configuration has it.
    pub fn given(&self) -> Option<&Credential> {
        match self {
            Self::Given(credential) => Some(credential),
            Self::Fetched(_) => None,
        }
    }
}
