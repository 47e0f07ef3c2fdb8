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

/// Parses `body` as one JSON object of type `T`.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(body).ok()?;
    serde_json::from_str(text).ok().map(|Object(document)| document)
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
