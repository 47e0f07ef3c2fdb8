//! # idgate: a map of the code
//!
//! idgate checks whether a name and a Chinese ID number belong together (身份证二要素核验). It asks a chain of paid providers,
//! one after the other, and returns the first verdict. Modules depend on each other in one direction only, which
//! `tests/it/layering.rs` checks:
//!
//! ```text
//!  main > app > server > verify > { providers, storage } > domain
//!                               > resilience              (depends on no other module)
//! ```
//!
//! | module | purpose | may use |
//! | --- | --- | --- |
//! | [`domain`] | names, ID numbers, verdicts, outcomes, money. Pure values: no I/O, no serde | no other module |
//! | [`resilience`] | breaker, bulkhead, rate limiter, flight, budget; knows nothing about identity | no other module |
//! | `json_writer` | JSON objects, member by member, for what is written with every request | no other module |
//! | [`providers`] | one folder per provider: its protocol as pure functions over bytes | `domain` |
//! | [`storage`] | state that survives a request: the verdict cache and the ledger | `domain`, `json_writer` |
//! | [`verify`] | the core: takes a question, returns a verdict | `domain`, `resilience`, `providers`, `storage` |
//! | [`server`] | the HTTP edges: the API, the providers' protocols, admin, sandbox | all except `resilience`, `app` |
//! | [`app`] | configuration, assembly, life cycle, commands | all |
//!
//! Deliberately absent: a `util` module, a crate-wide error or metrics module, globals, a retry layer, and health-check
//! calls to providers (a call may cost money, so every call belongs to a question).

pub mod app;
pub mod domain;
mod json_writer;
pub mod providers;
pub mod resilience;
pub mod server;
pub mod storage;
pub mod verify;
