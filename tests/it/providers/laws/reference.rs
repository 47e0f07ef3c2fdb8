//! An independent reader of the documented verdict field, as strict as the documents, which shares no code with the
//! drivers.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::Response;
use idgate::domain::verdict::Verdict;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// Where a driver's documents place the verdict: `tests/fixtures/<driver>/verdict.json`.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reference {
    /// A code, in one of several members that must agree.
    Word { success: Success, members: Vec<String>, words: BTreeMap<String, Word> },
    /// A flag for a match, and the prefix of a text for the other verdicts.
    FlagAndText {
        success: Success,
        flag: String,
        text: String,
        no_match_begins: String,
        begins: BTreeMap<String, Word>,
    },
}

/// The members that indicate success, with the values that do so.
type Success = BTreeMap<String, Vec<String>>;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Match,
    Mismatch,
    NoRecord,
}

impl From<Word> for Verdict {
    fn from(word: Word) -> Self {
        match word {
            Word::Match => Verdict::Match,
            Word::Mismatch => Verdict::Mismatch,
            Word::NoRecord => Verdict::NoRecord,
        }
    }
}

impl Reference {
    pub fn of(driver: &str) -> Self {
        let path = format!("{}/tests/fixtures/{driver}/verdict.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|_| panic!("{path} is missing: it says where the answers of {driver} hold their verdict"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The verdict in the documented field, if the response indicates success.
    pub fn verdict(&self, response: &Response<Bytes>) -> Option<Verdict> {
        let body: Json = serde_json::from_slice(response.body()).ok()?;
        let (Reference::Word { success, .. } | Reference::FlagAndText { success, .. }) = self;
        let says = |(member, words): (&String, &Vec<String>)| {
            body.get(member).and_then(Json::scalar).is_some_and(|said| words.contains(&said))
        };
        if response.status() != 200 || !success.iter().all(says) {
            return None;
        }
        match self {
            Reference::Word { members, words, .. } => {
                let mut said = said(&body, members);
                let first = said.next()??;
                let agreed = said.all(|other| other.as_ref() == Some(&first));
                words.get(&first).filter(|_| agreed).map(|word| Verdict::from(*word))
            }
            Reference::FlagAndText { flag, text, no_match_begins, begins, .. } => {
                let text = body.get(text)?.scalar()?.trim().replace('：', ":");
                if matches!(body.get(flag), Some(Json::Bool(true))) {
                    return (!text.starts_with(no_match_begins)).then_some(Verdict::Match);
                }
                begins.iter().find(|(beginning, _)| text.starts_with(*beginning)).map(|(_, word)| Verdict::from(*word))
            }
        }
    }

    /// The raw value of the field.
    pub fn field(&self, response: &Response<Bytes>) -> Option<String> {
        let body: Json = serde_json::from_slice(response.body()).ok()?;
        match self {
            Reference::Word { members, .. } => said(&body, members).next()?,
            Reference::FlagAndText { flag, text, .. } => {
                Some(format!("{:?} {}", body.get(flag), body.get(text)?.scalar()?))
            }
        }
    }
}

/// The values of those members that exist; `None` inside for a value of an unsupported type.
fn said(body: &Json, members: &[String]) -> impl Iterator<Item = Option<String>> {
    members.iter().filter_map(|path| match path.split_once('.') {
        None => Some(body.get(path)?.scalar()),
        Some((object, member)) => match body.get(object)? {
            Json::Null => None,
            object => Some(object.get(member).and_then(Json::scalar)),
        },
    })
}

/// JSON that keeps the order of members and repeated members.
#[derive(Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Whole(u64),
    Other,
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The member with this name, if there is exactly one.
    fn get(&self, wanted: &str) -> Option<&Json> {
        let Json::Object(members) = self else { return None };
        let mut found = members.iter().filter(|(name, _)| name == wanted);
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// A string, or a whole number converted to a string.
    fn scalar(&self) -> Option<String> {
        match self {
            Json::Text(text) => Some(text.clone()),
            Json::Whole(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(value) = list.next_element()? {
            out.push(value);
        }
        Ok(Json::List(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut out = Vec::new();
        while let Some(member) = object.next_entry()? {
            out.push(member);
        }
        Ok(Json::Object(out))
    }
}
