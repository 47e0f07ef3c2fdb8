//! Parses the JSON of a question. All mistakes are found in one pass, and no message quotes a value.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use utoipa::ToSchema;

use super::problem::MemberError;
use crate::domain::disclosure::{holds_number, holds_person};
use crate::domain::personal::Personal;
use crate::server::auth::key_config;

const MOST_PURPOSE: usize = 64;
const MOST_REFERENCE: usize = 128;

#[derive(Debug)]
pub struct VerifyBody {
    /// As on the ID card.
    pub name: Personal,
    /// 18 characters (15 are converted).
    pub id_number: Personal,
    /// Selects the policy.
    pub purpose: Option<String>,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// Adds fields derived from the number.
    pub include_person: Option<bool>,
}

/// `POST /v1/verify`. Unknown members are refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the documented form of what `VerifyBody::parse` reads")]
pub struct VerifyRequest {
    /// As on the ID card.
    #[schema(example = "张三", min_length = 1)]
    name: String,
    /// 18 characters (15 are converted).
    #[schema(example = "11010519491231002X", min_length = 1)]
    id_number: String,
    /// One of the purposes the configuration lists.
    #[serde(default)]
    #[schema(nullable = false, max_length = 64, min_length = 1, example = "default")]
    purpose: Option<String>,
    /// The caller's own reference; recorded, never sent upstream.
    #[serde(default)]
    #[schema(nullable = false, max_length = 128, min_length = 1, pattern = "^[!-~]+$")]
    reference: Option<String>,
    /// Adds fields derived locally from the number.
    #[serde(default)]
    #[schema(nullable = false)]
    include_person: Option<bool>,
}

const REQUIRED: [Key; 2] = [Key::Name, Key::IdNumber];

/// The members of a request to forget a person.
const OF_A_PERSON: [Key; 3] = [Key::Name, Key::IdNumber, Key::Reason];
const ALL: [Key; 5] = [Key::Name, Key::IdNumber, Key::Purpose, Key::Reference, Key::IncludePerson];

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Name,
    IdNumber,
    Purpose,
    Reference,
    IncludePerson,
    /// Of a request to forget a person.
    Reason,
    Unknown(String),
}

/// The value of a member, reduced to the types that a member can have.
#[derive(Debug)]
enum Given {
    Text(Personal),
    Flag(bool),
    /// Any other type, described for the error message.
    Other(&'static str),
}

/// The members of an object in order, duplicates included; of the unknown ones only the first.
#[derive(Debug)]
struct Members(Vec<(Key, Given)>);

#[derive(Default)]
struct Draft {
    name: Option<Personal>,
    id_number: Option<Personal>,
    purpose: Option<String>,
    reference: Option<String>,
    include_person: Option<bool>,
    reason: Option<String>,
    errors: Vec<MemberError>,
}

impl VerifyBody {
    /// Parses a body with all members.
    ///
    /// # Errors
    /// Every mistake in it, each with its pointer.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<MemberError>> {
        Draft::read(bytes, &ALL)?.finish()
    }

    /// Parses a body that may have a name, a number and a reason only. The reason is unchecked.
    ///
    /// # Errors
    /// Every mistake in it, each with its pointer.
    pub fn parse_subject(bytes: &[u8]) -> Result<(Personal, Personal, Option<String>), Vec<MemberError>> {
        let mut draft = Draft::read(bytes, &OF_A_PERSON)?;
        let reason = draft.reason.take();
        let Self { name, id_number, .. } = draft.finish()?;
        Ok((name, id_number, reason))
    }

    pub fn wants_person(&self) -> bool {
        self.include_person.unwrap_or(false)
    }
}

/// Uses only the position and kind of the error, because serde_json's own text may quote the input.
fn syntax_error(member: &str, error: &serde_json::Error) -> MemberError {
    let pointer = ALL.iter().map(Key::pointer).find(|pointer| pointer.strip_prefix('/') == Some(member));
    let pointer = pointer.unwrap_or_default();
    if error.is_data() {
        let detail = "the body must be one JSON object with the members `name` and `id_number`".to_owned();
        return MemberError { pointer, reason: "not_an_object", detail };
    }
    let what = if error.is_eof() { "the JSON ends too early" } else { "this is not valid JSON in UTF-8" };
    let detail = format!("{what}, at line {}, column {}", error.line(), error.column());
    MemberError { pointer, reason: "not_json", detail }
}

/// Where `error` is. The body is read once more for that: keeping the path at all times costs as much as all the rest.
fn located(bytes: &[u8], error: &serde_json::Error) -> MemberError {
    match serde_path_to_error::deserialize::<_, Members>(&mut serde_json::Deserializer::from_slice(bytes)) {
        Err(located) => syntax_error(&located.path().to_string(), located.inner()),
        Ok(_) => syntax_error("", error),
    }
}

impl Draft {
    fn mistake(&mut self, pointer: &str, reason: &'static str, detail: impl Into<String>) {
        self.errors.push(MemberError { pointer: pointer.to_owned(), reason, detail: detail.into() });
    }

    /// Reads a body that may have only the `known` members.
    fn read(bytes: &[u8], known: &[Key]) -> Result<Self, Vec<MemberError>> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let Members(members) = Members::deserialize(&mut json).map_err(|error| vec![located(bytes, &error)])?;
        json.end().map_err(|error| vec![syntax_error("", &error)])?;
        let mut draft = Self::default();
        let mut seen = [false; ALL.len()];
        for (key, given) in members {
            match known.iter().zip(&mut seen).find(|(known, _)| **known == key) {
                None => draft.unknown(&key, known),
                Some((_, true)) => {
                    draft.mistake(&key.pointer(), "duplicate_member", "the member occurs twice; send it once");
                }
                Some((_, is_seen)) => {
                    *is_seen = true;
                    draft.take(&key, given);
                }
            }
        }
        let is_seen = |key: &Key| known.iter().zip(seen).any(|(known, is_seen)| is_seen && known == key);
        for key in REQUIRED.iter().filter(|key| !is_seen(key)) {
            draft.mistake(&key.pointer(), "missing_member", "is required");
        }
        Ok(draft)
    }

    /// Reports one unknown member only: it is enough to fix the request, and a thousand would amplify it.
    fn unknown(&mut self, key: &Key, known: &[Key]) {
        if self.errors.iter().all(|error| error.reason != "unknown_member") {
            let known: Vec<_> = known.iter().map(|key| key.pointer().split_off(1)).collect();
            let detail = format!("is not a member of this document; known are {}", known.join(", "));
            self.mistake(&key.pointer(), "unknown_member", detail);
        }
    }

    fn take(&mut self, key: &Key, given: Given) {
        match (key, given) {
            (Key::Name, Given::Text(text)) => self.name = Some(text),
            (Key::IdNumber, Given::Text(text)) => self.id_number = Some(text),
            (Key::Purpose, Given::Text(text)) => self.purpose = Some(text.expose().to_owned()),
            (Key::Reference, Given::Text(text)) => self.reference = Some(text.expose().to_owned()),
            (Key::Reason, Given::Text(text)) => self.reason = Some(text.expose().to_owned()),
            (Key::IncludePerson, Given::Flag(flag)) => self.include_person = Some(flag),
            (_, given) => {
                let wanted = if *key == Key::IncludePerson { "true or false" } else { "a string" };
                let detail = format!("must be {wanted}, and is {}", given.described());
                self.mistake(&key.pointer(), "wrong_type", detail);
            }
        }
    }

    fn finish(mut self) -> Result<VerifyBody, Vec<MemberError>> {
        if self.purpose.as_ref().is_some_and(|purpose| purpose.is_empty() || purpose.len() > MOST_PURPOSE) {
            self.mistake("/purpose", "bad_length", "must be one of this client's purposes");
        }
        if let Some(reference) = &self.reference {
            if reference.is_empty() || reference.len() > MOST_REFERENCE {
                self.mistake("/reference", "bad_length", "must have 1 to 128 characters");
            } else if !reference.bytes().all(|byte| byte.is_ascii_graphic()) {
                self.mistake("/reference", "bad_character", "may hold visible ASCII characters only, no spaces");
            } else if holds_number(reference) || holds_person(reference, shown(&self.name), shown(&self.id_number)) {
                let detail =
                    "holds an ID number or a name, and would carry it into records; use a reference of your own";
                self.mistake("/reference", "holds_id_number", detail);
            } else if key_config::holds_key(reference) {
                let detail = "holds a client key, and would carry it into records; replace that key, it is known now";
                self.mistake("/reference", "holds_key", detail);
            }
        }
        match (self.name, self.id_number) {
            (Some(name), Some(id_number)) if self.errors.is_empty() => Ok(VerifyBody {
                name,
                id_number,
                purpose: self.purpose,
                reference: self.reference,
                include_person: self.include_person,
            }),
            _ => Err(self.errors),
        }
    }
}

fn shown(text: &Option<Personal>) -> &str {
    text.as_ref().map(Personal::expose).unwrap_or_default()
}

impl Given {
    const fn described(&self) -> &'static str {
        match self {
            Given::Text(_) => "a string",
            Given::Flag(_) => "true or false",
            Given::Other(described) => described,
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Given, E> {
                Ok(Given::Text(Personal::new(text)))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Given, E> {
                Ok(Given::Flag(flag))
            }

            fn visit_unit<E>(self) -> Result<Given, E> {
                Ok(Given::Other("null"))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Given, E> {
                Ok(Given::Other("a number"))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Given, E> {
                Ok(Given::Other("a number"))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Given, E> {
                Ok(Given::Other("a number"))
            }

            // Not `IgnoredAny`, which has no limit on how deep values are nested.
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Given, A::Error> {
                while items.next_element::<Value>()?.is_some() {}
                Ok(Given::Other("an array"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Given, A::Error> {
                while members.next_entry::<String, Value>()?.is_some() {}
                Ok(Given::Other("an object"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Key {
    /// The member's JSON pointer. The name of an unknown member is quoted only if it is lower-case letters and
    /// underscores, because the caller could have put a person's name there.
    fn pointer(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        match self {
            Key::Name => "/name".to_owned(),
            Key::IdNumber => "/id_number".to_owned(),
            Key::Purpose => "/purpose".to_owned(),
            Key::Reference => "/reference".to_owned(),
            Key::IncludePerson => "/include_person".to_owned(),
            Key::Reason => "/reason".to_owned(),
            Key::Unknown(name) if (1..=32).contains(&name.len()) && name.bytes().all(plain) => format!("/{name}"),
            Key::Unknown(_) => String::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let (mut members, mut has_unknown) = (Vec::with_capacity(REQUIRED.len()), false);
                while let Some(key) = map.next_key()? {
                    let is_unknown = matches!(key, Key::Unknown(_));
                    let given = match is_unknown {
                        true => map.next_value::<IgnoredAny>().map(|_| Given::Other("unknown"))?,
                        false => map.next_value::<Given>()?,
                    };
                    if !(is_unknown && has_unknown) {
                        members.push((key, given));
                    }
                    has_unknown |= is_unknown;
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
