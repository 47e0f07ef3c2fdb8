//! What happens to a question between its bytes and its answer, whichever protocol it came in.
//!
//! An edge reads its request, then calls the steps in this order; each takes what the one before has made:
//! 1. `admission`: who asks, within its rate;
//! 2. `question`: purpose, ledger entry, rights, local rules (free), then the client's day;
//! 3. `asking`: the verdict, as `Unwritten`;
//! 4. `answer`: `Unwritten` becomes [`Verified`] once the ledger has it. Only that can be delivered.

mod admission;
mod answer;
mod asking;
mod local_rules;
mod question;
mod state;

pub(in crate::server) use admission::{admit, check_head, overloaded};
pub use answer::Verified;
pub(in crate::server) use answer::{Delivered, Unwritten, WriteFailed};
pub(in crate::server) use asking::{ask, ask_and_write, traced, unwritten};
pub(in crate::server) use local_rules::subject;
pub(in crate::server) use question::{RequestOptions, build_local_question, build_question};
pub use state::Pipeline;
