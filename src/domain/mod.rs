//! Domain types: names, ID numbers, verdicts, outcomes and prices.
//!
//! Pure and synchronous: no I/O, no serde, no clock of its own (today's date is an argument).
//! Types that hold personal data have no `Display`, no `Serialize` and a masked `Debug`, and are wiped on drop.
//! To add a type: one file with the type, its parse function and its tests. Nothing here imports from other layers.

pub mod clock;
pub mod disclosure;
pub mod id_number;
pub mod minutes;
pub mod money;
pub mod name;
pub mod outcome;
pub mod personal;
pub mod receipt;
pub mod region;
mod script;
pub mod subject;
pub mod verdict;
