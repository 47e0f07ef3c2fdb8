//! What keeps trouble from spreading: parts that know nothing about identity, HTTP or metrics.
//!
//! | part | the question it answers |
//! | --- | --- |
//! | [`breaker`] | is this endpoint well enough to be called? |
//! | [`account`] | does the other side serve our account at all? |
//! | [`bulkhead`] | are too many calls in flight already? |
//! | [`limiter`] | are we calling too fast? |
//! | [`budget`] | may this question cost yet another call? |
//! | [`spending`] | is there money left for it? |
//! | [`flight`] | is the same work under way already? |
//!
//! Invariants: a part decides at once and never waits (only a [`flight`] is waited on); what it hands out
//! (permit, admission, slot) gives itself back when dropped; time is an argument and chance a seed, so a
//! test decides both; nothing here spawns a task or calls the outside. State is per process: `n` replicas
//! allow `n` times as much.
//!
//! These are plain parts, not tower layers: `verify::link` composes them in one function that can be read
//! from top to bottom. To add one, write a file that needs no other part and a row above.

pub mod account;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod flight;
pub mod limiter;
pub mod spending;

pub mod backoff;
