//! How a listener speaks TLS: the certificate it presents, the authorities it trusts, and the switch that replaces both
//! at run time.
//!
//! Invariants: only TLS 1.2 and 1.3; one crypto provider, named here and never taken from a global; a connection keeps
//! the [`Tls`] it began with, and the next one gets the newest. [`Section::build`] finds every mistake in a file before
//! anything is bound, and reports it without a byte of a key.

mod acceptor;
mod build;
mod failure;
mod peer;

pub(super) use self::acceptor::HTTP2;
pub use self::acceptor::{Tls, TlsSwitch};
pub use self::build::{ClientCertificates, Material, Section};
pub use self::failure::Failure;
pub use self::peer::PeerCertificate;
