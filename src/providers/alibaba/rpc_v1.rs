//! The older signature of the RPC gateway: HMAC-SHA1 over all parameters, wherever they are placed.
//!
//! The signature covers decoded names and values, so the encoding on the wire does not matter. Headers and path are not
//! signed. The vendor's documents call it "V2"; on the wire it is `SignatureVersion=1.0`.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::seal::{self, Flaw};
use crate::domain::personal::Secret;
use crate::providers::codec::{form, hmac};

/// The signature parameter, which is not signed itself.
pub const SIGNATURE: &str = "Signature";

/// The string to sign: the method and every parameter but [`SIGNATURE`], sorted by name.
pub fn string_to_sign(method: &str, parameters: &[(&str, &str)]) -> String {
    let mut signed: Vec<_> = parameters.iter().copied().filter(|(name, _)| *name != SIGNATURE).collect();
    signed.sort_unstable();
    let canonical = form::encode_pairs(signed);
    let mut out = String::with_capacity(2 * canonical.len());
    out.push_str(method);
    out.push_str("&%2F&");
    form::encode_into(&mut out, &canonical);
    out
}

pub fn sign(method: &str, parameters: &[(&str, &str)], secret: &Secret) -> String {
    // The trailing `&` is specific to this scheme.
    let key = Zeroizing::new(format!("{}&", secret.expose()));
    STANDARD.encode(hmac::sha1(key.as_bytes(), string_to_sign(method, parameters).as_bytes()))
}

/// Checks that these parameters, [`SIGNATURE`] included, were signed with `secret`, with a time stamp close to `now`.
///
/// # Errors
/// The first [`Flaw`] found: incomplete, time stamp, signature.
pub fn verify(method: &str, parameters: &[(&str, &str)], secret: &Secret, now: Timestamp) -> Result<(), Flaw> {
    let find = |wanted| parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let (Some(time), Some(presented)) = (find("Timestamp"), find(SIGNATURE)) else {
        return Err(Flaw::Incomplete);
    };
    seal::check_time(time, now)?;
    seal::compare(&sign(method, parameters, secret), presented)
}
