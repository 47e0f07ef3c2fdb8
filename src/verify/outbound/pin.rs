//! Pinned public keys.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// The SHA-256 of a public key (`SubjectPublicKeyInfo`), which a renewed certificate keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut pin = [0; 32];
        hex::decode_to_slice(text, &mut pin).ok()?;
        Some(Self(pin))
    }

    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
        Some(Self(Sha256::digest(certificate.subject_public_key_info().as_ref()).into()))
    }
}
