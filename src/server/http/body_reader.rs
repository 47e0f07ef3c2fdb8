//! The JSON of a question. All mistakes are found in one pass; none of them quotes a value.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use jiff::civil::Date;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use utoipa::ToSchema;

use crate::domain::id_number::{Calendar, IdNumber};
use crate::domain::personal::Personal;
use crate::server::auth::key_config;
use crate::server::http::problem::MemberError;

const MOST_PURPOSE: usize = 64;
const MOST_REFERENCE: usize = 128;

/// A question as its caller wrote it.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Name,
    IdNumber,
    Purpose,
    Reference,
    IncludePerson,
}

/// A value of any type, kept only if a member may have it.
enum Value<'de> {
    Text(Cow<'de, str>),
    Flag(bool),
    Other(&'static str),
}

enum Key {
    Known(Member),
    Unknown(String),
}

#[derive(Default)]
struct Draft {
    name: Option<Personal>,
    id_number: Option<Personal>,
    purpose: Option<String>,
    reference: Option<String>,
    include_person: Option<bool>,
    seen: Vec<Member>,
    errors: Vec<MemberError>,
}

struct Reader<'a> {
    /// The members that the document may have.
    known: &'static [Member],
    /// The member being read, so that a syntax error can say where.
    at: &'a Cell<Option<Member>>,
}

impl VerifyBody {
    /// Reads a body.
    ///
    /// # Errors
    /// Every mistake in it, each with its pointer.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<MemberError>> {
        read(bytes, &Member::ALL)?.finish()
    }

    /// Reads a body that may have a name and a number only.
    ///
    /// # Errors
    /// Every mistake in it, each with its pointer.
    pub fn parse_subject(bytes: &[u8]) -> Result<(Personal, Personal), Vec<MemberError>> {
        let Self { name, id_number, .. } = read(bytes, &Member::OF_A_SUBJECT)?.finish()?;
        Ok((name, id_number))
    }

    /// Whether its caller asks for what the number tells.
    pub fn wants_person(&self) -> bool {
        self.include_person.unwrap_or(false)
    }

    /// Whether the reference holds anybody's valid number of 18 characters, not only that of this question's person.
    pub fn reference_carries_number(&self, today: Date) -> bool {
        let compact = self.reference.as_deref().map(compact).unwrap_or_default();
        // Nearly all references end here, because they have no such run of digits.
        let windows = (0..compact.len().saturating_sub(17)).filter_map(|at| compact.get(at..at + 18));
        windows
            .filter(|window| window.bytes().take(17).all(|byte| byte.is_ascii_digit()))
            .any(|window| IdNumber::parse(window, today, Calendar::Lenient).is_ok())
    }
}

fn read(bytes: &[u8], known: &'static [Member]) -> Result<Draft, Vec<MemberError>> {
    let at = Cell::new(None);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = (Reader { known, at: &at }).deserialize(&mut json).and_then(|draft| json.end().map(|()| draft));
    read.map_err(|error| vec![syntax_error(&error, at.get())])
}

impl Member {
    const ALL: [Member; 5] =
        [Member::Name, Member::IdNumber, Member::Purpose, Member::Reference, Member::IncludePerson];
    const OF_A_SUBJECT: [Member; 2] = [Member::Name, Member::IdNumber];

    const fn pointer(self) -> &'static str {
        match self {
            Member::Name => "/name",
            Member::IdNumber => "/id_number",
            Member::Purpose => "/purpose",
            Member::Reference => "/reference",
            Member::IncludePerson => "/include_person",
        }
    }
}

/// serde_json's own text may quote the input, so only its position and kind are used.
fn syntax_error(error: &serde_json::Error, at: Option<Member>) -> MemberError {
    let pointer = at.map_or("", Member::pointer).to_owned();
    if error.is_data() {
        let detail = "the body must be one JSON object with the members `name` and `id_number`".to_owned();
        return MemberError { pointer, reason: "not_an_object", detail };
    }
    let what = if error.is_eof() { "the JSON ends too early" } else { "this is not valid JSON in UTF-8" };
    let detail = format!("{what}, at line {}, column {}", error.line(), error.column());
    MemberError { pointer, reason: "not_json", detail }
}

impl Draft {
    fn mistake(&mut self, pointer: &str, reason: &'static str, detail: impl Into<String>) {
        self.errors.push(MemberError { pointer: pointer.to_owned(), reason, detail: detail.into() });
    }

    fn take(&mut self, member: Member, value: Value<'_>) {
        if self.seen.contains(&member) {
            return self.mistake(member.pointer(), "duplicate_member", "the member occurs twice; send it once");
        }
        self.seen.push(member);
        match (member, value) {
            (Member::Name, Value::Text(text)) => self.name = Some(Personal::new(text)),
            (Member::IdNumber, Value::Text(text)) => self.id_number = Some(Personal::new(text)),
            (Member::Purpose, Value::Text(text)) => self.purpose = Some(text.into_owned()),
            (Member::Reference, Value::Text(text)) => self.reference = Some(text.into_owned()),
            (Member::IncludePerson, Value::Flag(flag)) => self.include_person = Some(flag),
            (_, value) => {
                let wanted = if member == Member::IncludePerson { "true or false" } else { "a string" };
                let detail = format!("must be {wanted}, and is {}", value.described());
                self.mistake(member.pointer(), "wrong_type", detail);
            }
        }
    }

    fn finish(mut self) -> Result<VerifyBody, Vec<MemberError>> {
        for member in [Member::Name, Member::IdNumber] {
            if !self.seen.contains(&member) {
                self.mistake(member.pointer(), "missing_member", "is required");
            }
        }
        if self.purpose.as_ref().is_some_and(|purpose| purpose.is_empty() || purpose.len() > MOST_PURPOSE) {
            self.mistake("/purpose", "bad_length", "must be one of this client's purposes");
        }
        if let Some(reference) = &self.reference {
            if reference.is_empty() || reference.len() > MOST_REFERENCE {
                self.mistake("/reference", "bad_length", "must have 1 to 128 characters");
            } else if !reference.bytes().all(|byte| byte.is_ascii_graphic()) {
                self.mistake("/reference", "bad_character", "may hold visible ASCII characters only, no spaces");
            } else if self.id_number.as_ref().is_some_and(|number| contains(reference, number.expose())) {
                self.errors.push(reference_with_number());
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

/// The mistake of a reference that would carry somebody's number into records.
pub fn reference_with_number() -> MemberError {
    let detail = "holds an ID number, and would carry it into records; use a reference of your own".to_owned();
    MemberError { pointer: "/reference".to_owned(), reason: "holds_id_number", detail }
}

/// Whether `reference` has `number` in it, however either is written.
fn contains(reference: &str, number: &str) -> bool {
    let number = compact(number);
    number.len() >= 15 && compact(reference).contains(&number)
}

/// What is left without spaces, separators and the difference between small and capital letters.
fn compact(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

impl Value<'_> {
    const fn described(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Flag(_) => "true or false",
            Value::Other(described) => described,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Draft;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Draft, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let mut draft = Draft::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Known(member) if self.known.contains(&member) => {
                    self.at.set(Some(member));
                    let value = map.next_value()?;
                    draft.take(member, value);
                    self.at.set(None);
                }
                key => {
                    map.next_value::<IgnoredAny>()?;
                    // One is enough to go on with; a thousand would be an amplifier.
                    if draft.errors.iter().all(|error| error.reason != "unknown_member") {
                        let known: Vec<_> =
                            self.known.iter().map(|one| one.pointer().trim_start_matches('/')).collect();
                        let detail = format!("is not a member of this document; known are {}", known.join(", "));
                        draft.mistake(&key.pointer(), "unknown_member", detail);
                    }
                }
            }
        }
        Ok(draft)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "name" => Key::Known(Member::Name),
                    "id_number" => Key::Known(Member::IdNumber),
                    "purpose" => Key::Known(Member::Purpose),
                    "reference" => Key::Known(Member::Reference),
                    "include_person" => Key::Known(Member::IncludePerson),
                    _ => Key::Unknown(pointer_to(key)),
                })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

impl Key {
    fn pointer(self) -> String {
        match self {
            Key::Known(member) => member.pointer().to_owned(),
            Key::Unknown(pointer) => pointer,
        }
    }
}

/// A pointer to an unknown member, quoted only if its name looks like one: it could be a person's.
fn pointer_to(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if !key.is_empty() && key.len() <= 32 && key.bytes().all(plain) { format!("/{key}") } else { String::new() }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value<'de>, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Other("null"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<'de>, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value<'de>, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other("a number"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an object"))
    }
}
