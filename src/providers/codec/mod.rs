//! Encodings and digests common to all providers.

pub mod form;
pub mod hex;
pub mod hmac;
pub mod ini;
pub mod json;
pub mod text;
