//! The words of the trade: what a name, a number, a verdict, an outcome and a price are.
//!
//! Pure and synchronous: no I/O, no serde, no clock of its own (today's date is an argument).
//! Whatever holds a person has no `Display`, no `Serialize` and a masked `Debug`, and is wiped on drop.
//! To add a word: one file, one type, its parse function and its tests; nothing here imports upwards.

pub mod clock;
pub mod id_number;
pub mod money;
pub mod name;
pub mod outcome;
pub mod personal;
pub mod receipt;
pub mod region;
mod script;
pub mod subject;
pub mod verdict;
