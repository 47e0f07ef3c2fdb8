//! JSON documents, read more strictly than by derived readers.
//!
//! Invariant: input is valid UTF-8, and an object where an object is documented. A derived reader also accepts an
//! array, member by member, and would find a verdict in `["1"]`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::text;

/// Parses `body` as one JSON object of type `T`. Reads what RFC 8259 allows a server to send, because the answer may
/// have been billed: also a byte order mark, and unpaired surrogates, which become U+FFFD. A decisive number must be
/// written as documented: `1.0` is not `1`.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let text = text::utf8(body)?;
    let document = serde_json::from_str(text).or_else(|error| match paired(text) {
        Some(text) => serde_json::from_str(&text),
        None => Err(error),
    });
    document.ok().map(|Object(document)| document)
}

/// `text` with `\ufffd` for each escape of an unpaired surrogate, or `None` if it has none. A server that counts in
/// UTF-16 produces one when it masks a name of rare characters.
fn paired(text: &str) -> Option<String> {
    let (mut out, mut rest, mut is_changed) = (String::with_capacity(text.len()), text, false);
    while let Some((before, escape)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let (length, is_unpaired) = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, false),
            (Some(0xD800..=0xDFFF), _) => (6, true),
            _ => (2, false),
        };
        let (taken, left) = escape.split_at_checked(length)?;
        out.push_str(if is_unpaired { "\\ufffd" } else { taken });
        is_changed |= is_unpaired;
        rest = left;
    }
    out.push_str(rest);
    is_changed.then_some(out)
}

/// The UTF-16 code unit of an escape at the start of `text`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// Serializes a document to JSON.
pub fn write(document: &impl Serialize) -> String {
    // Serializing structs of strings and numbers cannot fail.
    serde_json::to_string(document).unwrap_or_default()
}

/// A `T` that is read from an object only; for nested objects.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl<T: Serialize> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A code that may be a string or an integer.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    Text(String),
    Number(u64),
}

impl Scalar {
    pub fn into_text(self) -> String {
        self.text().into_owned()
    }

    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Scalar::Text(text) => text.into(),
            Scalar::Number(number) => number.to_string().into(),
        }
    }
}

/// A member that is ignored if it is not a valid `T`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Lenient<T> {
    Known(T),
    #[serde(skip_serializing)]
    Other(IgnoredAny),
}

impl<T> Lenient<T> {
    /// The value, if it was valid.
    pub fn known(&self) -> Option<&T> {
        match self {
            Lenient::Known(value) => Some(value),
            Lenient::Other(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Document {
        code: u8,
    }

    /// Issue 13, line 21: such an answer was thrown away as garbage after it had been paid.
    #[test]
    fn every_legal_form_of_a_document_is_read() {
        #[derive(serde::Deserialize)]
        struct Reply {
            ok: i64,
            code: Scalar,
            name: String,
        }
        let of = |body: &str| {
            let reply: Reply = read(body.as_bytes()).unwrap_or_else(|| panic!("{body}"));
            (reply.ok, reply.code.text().into_owned(), reply.name)
        };
        let plain = (1, "1".to_owned(), "x".to_owned());
        for body in [
            "\u{feff}{\"ok\":1,\"code\":\"1\",\"name\":\"x\"}",
            "\u{feff}\r\n\t {\"ok\":1,\"code\":1,\"name\":\"x\"}\r\n",
            r#"{"\u006fk":1,"code":"\u0031","name":"\u0078","else":"\ud842**"}"#,
        ] {
            assert_eq!(of(body), plain, "{body}");
        }
        for (escaped, read) in [
            (r"\ud842**", "\u{fffd}**"),
            (r"\udfb7\ud842", "\u{fffd}\u{fffd}"),
            (r"\ud842\ud842\udfb7", "\u{fffd}𠮷"),
            (r"\\ud842\ud842", "\\ud842\u{fffd}"),
        ] {
            assert_eq!(of(&format!(r#"{{"ok":1,"code":1,"name":"{escaped}"}}"#)).2, read, "{escaped}");
        }
        assert!(read::<Reply>(br#"{"ok":1.0,"code":1,"name":"x"}"#).is_none());
        assert!(read::<Reply>("\u{feff}\u{feff}{\"ok\":1,\"code\":1,\"name\":\"x\"}".as_bytes()).is_none());
    }

    #[test]
    fn an_array_is_no_object_and_broken_utf8_no_document() {
        assert_eq!(read(br#" {"code": 1, "else": "\u00e9"} "#).map(|document: Document| document.code), Some(1));
        for bad in [
            &b"[1]"[..],
            b"1",
            b"",
            b"null",
            b"{\"code\":1,\"else\":\"\xff\"}",
            b"{\"code\":1,\"code\":1}",
            b"{\"code\":1}x",
        ] {
            assert!(read::<Document>(bad).is_none(), "{bad:?}");
        }
    }
}
