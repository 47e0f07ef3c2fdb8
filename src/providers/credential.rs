//! Credentials as open kinds: a driver declares each [`Scheme`] that it signs with, and everything else (configuration,
//! `idgate key new`, keys issued to callers, sandbox, tests) takes from the scheme what it needs to know.

use crate::domain::personal::Secret;

/// A kind of credential.
///
/// To add one: a `static` in the provider's folder, named in its [`Driver`](super::Driver).
#[derive(Debug)]
pub struct Scheme {
    /// Its name, as `idgate key new --kind` takes it.
    pub name: &'static str,
    /// What it is and who uses it, for a help text.
    pub title: &'static str,
    /// The settings of a provider that make one.
    pub fields: &'static [Field],
    /// Whether the secret itself is shown, as a password is; otherwise it signs and never leaves its owner.
    pub is_bearer: bool,
    /// How one is issued to a caller of ours.
    pub issued: Issued,
}

/// One setting that makes a credential.
#[derive(Debug)]
pub struct Field {
    /// Its key in the configuration.
    pub key: &'static str,
    /// Which part of the credential it is.
    pub part: Part,
    /// Whether the configuration gives it as a secret: `{ env }`, `{ file }` or `{ value }`.
    pub is_secret: bool,
}

/// A part of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The public id, which names one key among all.
    Id,
    /// What signs, or is shown.
    Secret,
    /// What goes with a temporary key.
    Token,
}

/// How credentials of a scheme are issued to callers.
#[derive(Debug, Clone, Copy)]
pub struct Issued {
    /// The list in a client's section.
    pub list: &'static str,
    /// The member of an entry that holds the public id.
    pub id: &'static str,
    /// What the scheme is called in messages.
    pub noun: &'static str,
    /// What the vendor calls the public id; empty where there is none.
    pub id_label: &'static str,
    /// What the vendor calls the secret.
    pub secret_label: &'static str,
    /// Whether the protocol has a code for a key that has ended. Without one such a key counts as unknown.
    pub tells_end: bool,
}

impl Field {
    /// A setting that is given as a secret.
    pub const fn secret(key: &'static str, part: Part) -> Self {
        Self { key, part, is_secret: true }
    }

    /// A setting in plain text.
    pub const fn plain(key: &'static str, part: Part) -> Self {
        Self { key, part, is_secret: false }
    }
}

impl PartialEq for Scheme {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scheme {}

/// A credential: its scheme and its parts.
#[derive(Debug, Clone)]
pub struct Credential {
    scheme: &'static Scheme,
    id: String,
    secret: Secret,
    token: Option<Secret>,
}

impl Credential {
    /// A key with a public id and a secret that signs.
    pub fn new(scheme: &'static Scheme, id: impl Into<String>, secret: Secret) -> Self {
        Self { scheme, id: id.into(), secret, token: None }
    }

    /// A secret that is its own proof and has no public id.
    pub fn bearer(scheme: &'static Scheme, secret: Secret) -> Self {
        Self::new(scheme, "", secret)
    }

    /// The same with the token of a temporary key, if there is one.
    #[must_use]
    pub fn with_token(self, token: Option<Secret>) -> Self {
        Self { token, ..self }
    }

    /// The same id and token with another secret.
    #[must_use]
    pub fn with_secret(self, secret: Secret) -> Self {
        Self { secret, ..self }
    }

    /// Its scheme.
    pub fn scheme(&self) -> &'static Scheme {
        self.scheme
    }

    /// Itself, if it is of that scheme.
    pub fn of(&self, scheme: &Scheme) -> Option<&Self> {
        (*self.scheme == *scheme).then_some(self)
    }

    /// The public id; empty for a bearer secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What signs, or is shown.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The token of a temporary key.
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Whether both are the very same, secrets compared in constant time.
    pub fn is(&self, other: &Self) -> bool {
        let same = |one: &Secret, other: &Secret| one.matches(other.expose().as_bytes());
        let same_token = match (&self.token, &other.token) {
            (None, None) => true,
            (Some(one), Some(other)) => same(one, other),
            _ => false,
        };
        self.scheme == other.scheme && self.id == other.id && same(&self.secret, &other.secret) && same_token
    }
}
