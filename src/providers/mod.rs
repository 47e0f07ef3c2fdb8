//! The upstreams. Each has one folder with its protocol as pure functions over bytes, in two inverse pairs. One codec
//! therefore serves outgoing calls, the drop-in edge and the simulator.
//!
//! ```text
//!               Protocol::encode_request            Service::decode_request
//!     Pair     ─────────────────────────▶  bytes  ─────────────────────────▶ (Asked, ReplyTo)
//!               Protocol::decode_response           Service::encode_response
//!  Finding/Fault ◀───────────────────────  bytes  ◀───────────────────────── (Verdict or Refusal, ReplyTo)
//! ```
//!
//! Invariants: no I/O, no async, no HTTP client, no clock ([`Stamp`] is an argument). A verdict comes only from the
//! documented verdict field. Text from a provider never leaves this module.
//!
//! To add a provider: a folder with a [`Driver`], one `mod` line here, one line in [`DRIVERS`], fixtures. The laws in
//! `tests/it/providers/` then run over it; `docs/adding-a-provider.md` shows the steps on a real one.

mod code;
pub mod codec;
mod credential;
mod credential_store;
pub mod dialect;
mod driver;
mod encode_error;
mod endpoint;
mod person_details;
mod protocol;
mod registry;
mod retry_after;
pub mod source;
pub mod temporary;

pub mod alibaba;
mod aliyun;
mod aliyun_intl;
mod muzhiyun;
mod tencent;
mod yunyi;

pub use self::code::Code;
pub use self::credential::{Credential, Field, Issued, Part, Scheme};
pub use self::credential_store::{CredentialStore, Presented, Taken};
pub use self::driver::{Access, Configured, Driver, Mistakes, Sample, Settings};
pub use self::encode_error::EncodeError;
pub use self::endpoint::Endpoint;
pub use self::person_details::PersonDetails;
pub use self::protocol::{Asked, Pair, Protocol, Refusal, ReplyTo, Service, Stamp, is_redirect};
pub use self::registry::{DRIVERS, addressee, driver, schemes, temporary_places};
pub use self::retry_after::retry_after;
