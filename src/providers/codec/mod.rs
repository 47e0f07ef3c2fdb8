//! What any provider may use to read and write bytes.

pub mod form;
pub mod hex;
pub mod hmac;
pub mod ini;
pub mod json;
