//! The keys for receipts: the signing key, and all published keys, with which older receipts can still be verified.
//!
//! Invariants: [`Config::build`] reports the mistakes of all files before anything changes, and quotes no byte of a
//! key. The signing key is always published. A private key where a public one is expected is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, OctetKeyPairParameters,
    OctetKeyPairType, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::personal::Secret;

/// The `typ` in the header of a receipt, so that no other JWT signed with the same key passes for a receipt.
const TYPE: &str = "idgate-receipt+jwt";

/// The DER prefix of an Ed25519 public key in its SubjectPublicKeyInfo; the 32 key bytes follow (RFC 8410).
const PUBLIC_KEY_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Section `[receipts]`; its `key` is a secret and is read separately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The key id; defaults to the thumbprint (RFC 7638).
    pub kid: Option<String>,
    /// Keys that no longer sign but stay published.
    pub former: Vec<Former>,
}

/// A key that no longer signs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Former {
    /// Path of the public key, in PEM.
    pub public_key: PathBuf,
    /// The key id; defaults to the thumbprint.
    #[serde(default)]
    pub kid: Option<String>,
}

pub struct Keys {
    signing: Option<(Header, EncodingKey)>,
    published: Bytes,
}

/// A new key pair, in PEM.
#[derive(Debug)]
pub struct Pair {
    /// PKCS#8, for `receipts.key`.
    pub private: Secret,
    /// For verifiers, and later for `receipts.former`.
    pub public: String,
}

/// Mistakes, as (key, problem and remedy).
type Mistakes = Vec<(String, String)>;

impl Config {
    /// Builds the keys from the text of `key` and the contents of the files in `former`. `None` in `former` stands for
    /// a file that could not be read, which the caller has already reported.
    ///
    /// # Errors
    /// All mistakes, as (key, problem and remedy).
    pub fn build(&self, key: Option<&Secret>, former: &[Option<&[u8]>]) -> Result<Keys, Mistakes> {
        let mut mistakes = Mistakes::new();
        let mut published = Vec::new();
        let signing = key.and_then(|key| match signing_key(key) {
            Some((key, public)) => {
                let jwk = published_key(&public, self.kid.as_deref());
                let mut header = Header::new(Algorithm::EdDSA);
                (header.typ, header.kid) = (Some(TYPE.to_owned()), jwk.common.key_id.clone());
                published.push(("kid".to_owned(), jwk));
                Some((header, key))
            }
            None => {
                let problem = "is no Ed25519 key in PEM (PKCS#8, not encrypted); `idgate key new --receipts FILE` or \
                               `openssl genpkey -algorithm ed25519` makes one";
                mistakes.push(("key".to_owned(), problem.to_owned()));
                None
            }
        });
        if key.is_none() && self.kid.is_some() {
            let problem = "names no key; write receipts.key = { file = \"PATH\" }, or remove it";
            mistakes.push(("kid".to_owned(), problem.to_owned()));
        }
        for (index, (Former { kid, .. }, pem)) in self.former.iter().zip(former).enumerate() {
            let Some(pem) = pem else { continue };
            match public_key(pem) {
                Some(public) => {
                    published.push((format!("former[{index}].kid"), published_key(&public, kid.as_deref())));
                }
                None => mistakes.push((
                    format!("former[{index}].public_key"),
                    "is no public Ed25519 key in PEM; `openssl pkey -in KEY -pubout` writes the public half of a key"
                        .to_owned(),
                )),
            }
        }
        let mut seen = BTreeSet::new();
        for (key, jwk) in &published {
            let kid = jwk.common.key_id.as_deref().unwrap_or_default();
            if !(1..=128).contains(&kid.len()) || !kid.bytes().all(|byte| byte.is_ascii_graphic()) {
                mistakes.push((key.clone(), "must have 1 to 128 visible ASCII characters".to_owned()));
            }
            if !seen.insert(kid) {
                let problem = "is the name of two keys, so nobody could tell which has signed; name each otherwise, and \
                               list no key twice";
                mistakes.push((key.clone(), problem.to_owned()));
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let set = JwkSet { keys: published.into_iter().map(|(_, jwk)| jwk).collect() };
        // Serializing a struct of strings cannot fail; if it did, an empty body would still be served.
        Ok(Keys { signing, published: serde_json::to_vec(&set).unwrap_or_default().into() })
    }
}

impl Keys {
    pub const fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    /// Signs `claims` as a compact JWS. Equal claims give equal bytes. `None` without a signing key.
    pub fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let (header, key) = self.signing.as_ref()?;
        jsonwebtoken::encode(header, claims, key).ok()
    }

    /// The public keys, as a JSON Web Key Set.
    pub fn published(&self) -> Bytes {
        self.published.clone()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kid = self.signing.as_ref().and_then(|(header, _)| header.kid.as_deref());
        f.debug_struct("Keys").field("kid", &kid).finish_non_exhaustive()
    }
}

impl Pair {
    /// Generates a key pair with the operating system's random numbers; `None` if they are unavailable.
    pub fn new() -> Option<Self> {
        let document = Ed25519KeyPair::generate_pkcs8v1(&aws_lc_rs::rand::SystemRandom::new()).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).ok()?;
        let public = [&PUBLIC_KEY_INFO, pair.public_key().as_ref()].concat();
        // 48 and 44 bytes, so the base64 text fits on one line.
        let pem = |label: &str, der: &[u8]| {
            let der = Zeroizing::new(STANDARD.encode(der));
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", *der)
        };
        let private = Secret::new(pem("PRIVATE KEY", document.as_ref()));
        Some(Self { private, public: pem("PUBLIC KEY", &public) })
    }
}

/// The signing key and its public key bytes.
fn signing_key(pem: &Secret) -> Option<(EncodingKey, Vec<u8>)> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes()).ok()?;
    let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?;
    let public = pair.public_key().as_ref().to_vec();
    Some((EncodingKey::from_ed_der(der.secret_pkcs8_der()), public))
}

fn public_key(pem: &[u8]) -> Option<Vec<u8>> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    let key = der.strip_prefix(&PUBLIC_KEY_INFO)?;
    (key.len() == 32).then(|| key.to_vec())
}

fn published_key(public: &[u8], kid: Option<&str>) -> Jwk {
    let key = OctetKeyPairParameters {
        key_type: OctetKeyPairType::OctetKeyPair,
        curve: EllipticCurve::Ed25519,
        x: URL_SAFE_NO_PAD.encode(public),
    };
    let common = CommonParameters {
        public_key_use: Some(PublicKeyUse::Signature),
        key_algorithm: Some(KeyAlgorithm::EdDSA),
        ..CommonParameters::default()
    };
    let mut jwk = Jwk { common, algorithm: AlgorithmParameters::OctetKeyPair(key) };
    // An Ed25519 key always has a thumbprint.
    let thumbprint = || jwk.thumbprint(ThumbprintHash::SHA256).unwrap_or_default();
    let kid = kid.map_or_else(thumbprint, str::to_owned);
    jwk.common.key_id = Some(kid);
    jwk
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;

    fn set(keys: &Keys) -> JwkSet {
        serde_json::from_slice(&keys.published()).unwrap()
    }

    fn keys_of(mistakes: &Mistakes) -> Vec<&str> {
        mistakes.iter().map(|(key, _)| &**key).collect()
    }

    #[test]
    fn the_name_of_a_key_is_its_thumbprint_as_rfc_8037_shows_it() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let kid = published_key(&x, None).common.key_id;
        assert_eq!(kid.as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    }

    #[test]
    fn what_one_key_signs_verifies_by_the_set_also_when_it_is_a_former_one() {
        let [old, new] = [Pair::new().unwrap(), Pair::new().unwrap()];
        let config = Config { kid: Some("2026".to_owned()), former: Vec::new() };
        let before = config.build(Some(&old.private), &[]).unwrap();
        let claims = json!({"jti": "x"});
        let jws = before.sign(&claims).unwrap();
        assert_eq!(before.sign(&claims).unwrap(), jws);
        let former = Former { public_key: PathBuf::new(), kid: Some("2026".to_owned()) };
        let config = Config { kid: None, former: vec![former] };
        let after = config.build(Some(&new.private), &[Some(old.public.as_bytes())]).unwrap();
        let header = jsonwebtoken::decode_header(&jws).unwrap();
        assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some(TYPE), Some("2026")));
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        for keys in [&before, &after] {
            let set = set(keys);
            let key = DecodingKey::from_jwk(set.find("2026").unwrap()).unwrap();
            assert_eq!(jsonwebtoken::decode::<Value>(&jws, &key, &validation).unwrap().claims, claims);
        }
        assert_eq!(set(&after).keys.len(), 2);
    }

    #[test]
    fn what_is_no_key_is_told_without_a_byte_of_it() {
        let [one, other] = [Pair::new().unwrap(), Pair::new().unwrap()];
        let former = |kid: Option<&str>| Former { public_key: PathBuf::new(), kid: kid.map(str::to_owned) };
        let config = Config { kid: Some("a b".to_owned()), former: vec![former(None), former(None), former(None)] };
        // A private key where a public one is expected, and the same key twice.
        let files =
            [Some(one.private.expose().as_bytes()), Some(other.public.as_bytes()), Some(other.public.as_bytes())];
        let mistakes = config.build(Some(&one.private), &files).unwrap_err();
        assert_eq!(keys_of(&mistakes), ["former[0].public_key", "kid", "former[2].kid"]);
        let inner = one.private.expose().lines().nth(1).unwrap();
        assert!(!format!("{mistakes:?}{one:?}").contains(inner));
        let wrong = Config::default().build(Some(&Secret::new("-----BEGIN NOTHING-----")), &[]).unwrap_err();
        assert_eq!(keys_of(&wrong), ["key"]);
        assert_eq!(keys_of(&config.build(None, &[]).unwrap_err()), ["kid"]);
        let none = Config::default().build(None, &[]).unwrap();
        assert!(!none.can_sign() && none.sign(&json!({})).is_none() && set(&none).keys.is_empty());
    }
}
