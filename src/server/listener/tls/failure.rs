//! Reasons for a failed TLS handshake.

use std::io;

/// Why a TLS handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Failure {
    /// The handshake passed its deadline.
    Timeout,
    /// The client presented no certificate, and one is required.
    NoClientCertificate,
    /// The client's certificate is expired, revoked, not for client use, or from an unknown authority.
    ClientCertificateRefused,
    /// The client sent an alert, most often because it rejects our certificate.
    RefusedByClient,
    /// Not TLS, an unsupported version, or a protocol violation.
    Protocol,
    /// The connection broke, or another error.
    Other,
}

impl Failure {
    /// Every reason, in the order of the counters.
    pub const ALL: &'static [Failure] = <Self as strum::VariantArray>::VARIANTS;

    /// The label value in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Classifies an error of the handshake.
    pub(in super::super) fn of(error: &io::Error) -> Self {
        use rustls::Error as E;
        match error.get_ref().and_then(|inner| inner.downcast_ref::<E>()) {
            Some(E::NoCertificatesPresented) => Failure::NoClientCertificate,
            Some(E::InvalidCertificate(_)) => Failure::ClientCertificateRefused,
            Some(E::AlertReceived(_)) => Failure::RefusedByClient,
            Some(
                E::InvalidMessage(_)
                | E::InappropriateMessage { .. }
                | E::InappropriateHandshakeMessage { .. }
                | E::PeerIncompatible(_)
                | E::PeerMisbehaved(_)
                | E::PeerSentOversizedRecord
                | E::NoApplicationProtocol
                | E::DecryptError,
            ) => Failure::Protocol,
            _ => Failure::Other,
        }
    }
}
