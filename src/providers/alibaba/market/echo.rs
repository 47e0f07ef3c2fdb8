//! Personal data echoed in a response, compared with the data sent in the request.
//!
//! Invariant: an echo is only compared, never kept. The two `serde` functions make a member of a document readable and
//! writable (`#[serde(with = "echo")]`) without making [`Personal`] itself serializable.

use serde::{Deserialize, Deserializer, Serializer};

use crate::domain::personal::Personal;
use crate::providers::codec::json::Scalar;

/// Reads a string, or an integer as its digits, because the type of an echo is irrelevant. Null and `""` count as
/// absent.
///
/// # Errors
/// For every other type.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Personal>, D::Error> {
    let text = Option::<Scalar>::deserialize(deserializer)?.map(Scalar::into_text).unwrap_or_default();
    Ok((!text.is_empty()).then(|| Personal::new(text)))
}

/// Writes the plain text.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(echo: &Option<Personal>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(echo.as_ref().map(Personal::expose).unwrap_or_default())
}

/// Whether `shown` is a masked form of `text`: each run of asterisks matches any characters, the rest must be equal.
/// U+FFFD counts as an asterisk: it is what remains of a rare character that was cut in half.
pub fn is_mask_of(shown: &str, text: &str) -> bool {
    let shown = shown.replace(['＊', '\u{fffd}'], "*");
    let Some((head, rest)) = shown.split_once('*') else { return shown == text };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut left) = text.strip_prefix(head).and_then(|text| text.strip_suffix(tail)) else { return false };
    middle.split('*').all(|part| match left.split_once(part) {
        Some((_, after)) => {
            left = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_fits_whoever_agrees_with_what_it_shows() {
        for (shown, text) in [
            ("庆**", "庆小满"),
            ("庆**", "庆满"),
            ("3505*****12", "350521199003071012"),
            ("张*三*四", "张一三二四"),
            ("***", "张三"),
            ("＊满", "庆满"),
            ("\u{fffd}**", "𠮷小满"),
            ("张三", "张三"),
        ] {
            assert!(is_mask_of(shown, text), "{shown} {text}");
        }
    }

    #[test]
    fn a_mask_does_not_fit_whoever_differs() {
        for (shown, text) in [
            ("庆**", "张小满"),
            ("3505*****12", "350521199003071013"),
            ("张*三*四", "张四三"),
            ("张三", "张三丰"),
            ("1*1", "1"),
            ("", "张三"),
        ] {
            assert!(!is_mask_of(shown, text), "{shown} {text}");
        }
    }
}
