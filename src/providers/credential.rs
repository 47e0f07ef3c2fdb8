//! Credential kinds. A driver declares each [`Scheme`] that it signs with. The configuration, `idgate key new`, keys
//! issued to callers, the sandbox and tests are driven by the scheme.

use std::sync::OnceLock;

use super::codec::hmac::Sha256Key;
use crate::domain::personal::Secret;

/// A kind of credential.
///
/// To add one: a `static` in the provider's folder, named in its [`Driver`](super::Driver).
#[derive(Debug)]
pub struct Scheme {
    /// The name for `idgate key new --kind`.
    pub name: &'static str,
    /// A description for the help text.
    pub title: &'static str,
    /// The provider settings that make up a credential.
    pub fields: &'static [Field],
    /// Whether the secret itself is sent, like a password. Otherwise it only signs.
    pub is_bearer: bool,
    /// How one is issued to a caller of the gateway.
    pub issued: Issued,
}

/// One setting of a credential.
#[derive(Debug)]
pub struct Field {
    pub key: &'static str,
    pub part: Part,
    /// Whether the configuration gives it as a secret: `{ env }`, `{ file }` or `{ value }`.
    pub is_secret: bool,
}

/// A part of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The public id of the key.
    Id,
    /// The signing secret or bearer secret.
    Secret,
    /// The token of a temporary key.
    Token,
}

/// How credentials of a scheme are issued to callers.
#[derive(Debug, Clone, Copy)]
pub struct Issued {
    /// The key of the list in a client's section.
    pub list: &'static str,
    /// The member of a list entry with the public id.
    pub id: &'static str,
    /// The scheme's name in messages.
    pub noun: &'static str,
    /// The vendor's name for the public id; empty where there is none.
    pub id_label: &'static str,
    /// The vendor's name for the secret.
    pub secret_label: &'static str,
    /// Whether the protocol has a code for an expired key. Otherwise such a key is reported as unknown.
    pub tells_end: bool,
}

impl Field {
    pub const fn secret(key: &'static str, part: Part) -> Self {
        Self { key, part, is_secret: true }
    }

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
    /// Prepared by the first signature.
    hmac: OnceLock<Box<Sha256Key>>,
}

impl Credential {
    /// A key with a public id and a signing secret.
    pub fn new(scheme: &'static Scheme, id: impl Into<String>, secret: Secret) -> Self {
        Self { scheme, id: id.into(), secret, token: None, hmac: OnceLock::new() }
    }

    /// A bearer secret, without a public id.
    pub fn bearer(scheme: &'static Scheme, secret: Secret) -> Self {
        Self::new(scheme, "", secret)
    }

    /// Adds the token of a temporary key, if there is one.
    #[must_use]
    pub fn with_token(self, token: Option<Secret>) -> Self {
        Self { token, ..self }
    }

    /// The same id and token with another secret.
    #[must_use]
    pub fn with_secret(self, secret: Secret) -> Self {
        Self { secret, hmac: OnceLock::new(), ..self }
    }

    pub fn scheme(&self) -> &'static Scheme {
        self.scheme
    }

    /// Returns the credential if it is of that scheme.
    pub fn of(&self, scheme: &Scheme) -> Option<&Self> {
        (*self.scheme == *scheme).then_some(self)
    }

    /// The public id; empty for a bearer secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The signing secret or bearer secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// HMAC-SHA256 with the secret.
    pub fn hmac(&self) -> &Sha256Key {
        self.hmac.get_or_init(|| Box::new(Sha256Key::new(self.secret.expose().as_bytes())))
    }

    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Whether both are equal; secrets are compared in constant time.
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
