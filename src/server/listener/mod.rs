//! A listener: accepts connections, limits them, speaks TLS, and drains on stop.
//!
//! `accept` is the accept loop. `connection` serves a plain HTTP/1.1 connection, `secure` a TLS one with HTTP/2 or
//! HTTP/1.1.

mod accept;
mod answer;
mod bare_refusal;
mod config;
mod connection;
mod connections;
mod framing;
mod hang_up;
mod life;
mod metrics;
mod refusal;
mod secure;
pub mod tls;
mod unfinished;
mod watch;
mod write_timeout;
mod zeroizing_io;

pub use self::accept::{Listener, descriptors};
pub use self::answer::{Answer, Routed};
pub use self::config::Config;
pub use self::connections::{Connections, network};
pub use self::metrics::Metrics;
pub use self::tls::{Tls, TlsSwitch};
