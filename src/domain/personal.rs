//! Text that must not leak: personal data and secrets.
//!
//! Invariant: the only access to the text is [`Personal::expose`] or [`Secret::expose`], so a search for `expose` finds
//! every place that could leak. No `Display`, no `Serialize`; `Debug` is masked.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Unvalidated personal data (a name or an ID number), as received or sent. Wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Personal(Zeroizing<String>);

impl Personal {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Only for sending and digests, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(…)")
    }
}

/// A provider secret or a client key. Wiped on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Only for signing and sending.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time; the length is not hidden.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_person_nor_secret() {
        let shown = format!("{:?} {:?}", Personal::new("张三"), Secret::new("hunter2"));
        assert_eq!(shown, "Personal(…) Secret(…)");
    }

    #[test]
    fn a_secret_matches_itself_only() {
        let secret = Secret::new("0012345");
        assert!(secret.matches(b"0012345"));
        assert!(!secret.matches(b"12345"));
        assert!(!secret.matches(b"0012346"));
    }
}
