//! Tencent Cloud's only kind of credential, and the format of its parts.

use crate::providers::{Field, Issued, Part, Scheme};

/// A SecretId with its SecretKey, and the token of a temporary pair.
pub static SECRET_KEY: Scheme = Scheme {
    name: "secret-key",
    title: "A SecretId and SecretKey, for the SDKs of Tencent Cloud",
    fields: &[
        Field::secret("secret_id", Part::Id),
        Field::secret("secret_key", Part::Secret),
        Field::secret("security_token", Part::Token),
    ],
    is_bearer: false,
    issued: Issued {
        list: "secret_keys",
        id: "id",
        noun: "secret key",
        id_label: "SecretId",
        secret_label: "SecretKey",
        tells_end: false,
    },
};

/// Whether it is a valid part of a key. Parts go into a header in which `,` and `/` are separators.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// Whether it is a valid region name.
pub(super) fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
