//! Why a handshake came to nothing, in words from a closed set.

use std::io;

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    Timeout,
    /// The client showed no certificate, and one is required.
    NoClientCertificate,
    /// The client's certificate is of no known authority, expired, revoked or not for clients.
    ClientCertificateRefused,
    /// The client refused us, most often our certificate.
    RefusedByClient,
    /// No TLS, none of our versions, or not as the protocol wants it.
    Protocol,
    /// The connection broke, or something else.
    Other,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 6] = [
        Failure::Timeout,
        Failure::NoClientCertificate,
        Failure::ClientCertificateRefused,
        Failure::RefusedByClient,
        Failure::Protocol,
        Failure::Other,
    ];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::NoClientCertificate => "no_client_certificate",
            Failure::ClientCertificateRefused => "client_certificate_refused",
            Failure::RefusedByClient => "refused_by_client",
            Failure::Protocol => "protocol",
            Failure::Other => "other",
        }
    }

    /// The reason in an error of the handshake.
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
