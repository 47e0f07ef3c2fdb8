//! How a listener speaks TLS: the certificate it shows, whom it trusts, and the handle that replaces both while it runs.
//!
//! Invariants: TLS 1.2 and 1.3 only, one crypto provider, named here and never taken from a global; a connection keeps
//! the [`Tls`] it began with, the next one gets the newest; what is wrong with a file is found by [`Section::build`],
//! before anything is bound, and told without a byte of a key.

mod acceptor;
mod build;
mod failure;
mod peer;

pub(super) use self::acceptor::HTTP2;
pub use self::acceptor::{Tls, TlsSwitch};
pub use self::build::{ClientCertificates, Material, Section};
pub use self::failure::Failure;
pub use self::peer::PeerCertificate;
