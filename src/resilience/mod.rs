//! Resilience primitives: generic building blocks that know nothing about identity checks, HTTP or metrics.
//!
//! | module | the question it answers |
//! | --- | --- |
//! | [`breaker`] | Is this endpoint healthy enough to call? |
//! | [`account`] | Does the provider serve our account at the moment? |
//! | [`bulkhead`] | Are too many calls in flight? |
//! | [`limiter`] | Are we calling too fast? |
//! | [`budget`] | May this question make an extra attempt? |
//! | [`spending`] | Is there money left for the call? |
//! | [`flight`] | Is the same work already in progress? |
//! | [`attended`] | Who drives the work when its caller leaves? |
//!
//! Invariants: every primitive decides immediately and never waits; only [`flight`] and [`attended`] are awaited. Whatever
//! it hands out (permit, admission, slot) is released on drop. Time is a parameter and randomness comes from a seed, so
//! tests control both. Nothing here does I/O, and only [`attended`] spawns a task. State is per process: `n` replicas
//! allow `n` times as much.
//!
//! These are plain types, not tower layers: `verify::endpoint` composes most of them in one function that reads from
//! top to bottom. A new primitive gets its own file and a row above, and depends on none of the others. [`party`] says
//! how those that are shared are divided.

pub mod account;
pub mod attended;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod flight;
pub mod limiter;
pub mod party;
mod rate;
pub mod spending;

pub mod backoff;
