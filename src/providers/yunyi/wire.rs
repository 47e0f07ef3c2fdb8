//! The reply of `POST /idenAuthentication`, read and written. The request is a form of `idNo` and `name`.

use serde::{Deserialize, Serialize};

use super::codes;
use crate::domain::id_number::Sex;
use crate::domain::outcome::{Fault, Reason};
use crate::domain::personal::Personal;
use crate::domain::region::Region;
use crate::domain::verdict::Verdict;
use crate::providers::alibaba::market::echo;
use crate::providers::codec::json;
use crate::providers::{Asked, Code, PersonDetails};

/// The reply. `serde` rejects a document with a duplicate of a decisive member.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// The name, in full.
    #[serde(default, with = "echo")]
    pub name: Option<Personal>,
    /// The number, in full.
    #[serde(default, with = "echo")]
    pub id_no: Option<Personal>,
    /// The message of [`Reply::resp_code`].
    #[serde(default)]
    pub resp_message: Option<String>,
    /// The code of the result or error, four digits.
    pub resp_code: String,
    /// The details of a result. Written only: we derive them from the number.
    #[serde(flatten, skip_deserializing)]
    person: Option<Person>,
}

/// The details that the provider derives from the number; unknown ones are empty.
#[derive(Serialize, Default)]
struct Person {
    province: String,
    city: String,
    county: String,
    birthday: String,
    sex: &'static str,
    age: String,
}

impl Person {
    fn of(person: &PersonDetails) -> Self {
        let unit =
            |pick: fn(&Region) -> Option<&String>| person.region.as_ref().and_then(pick).cloned().unwrap_or_default();
        Self {
            province: unit(|region| region.province.as_ref()),
            city: unit(|region| region.city.as_ref()),
            county: unit(|region| region.county.as_ref()),
            birthday: person.birth_date.map(|date| date.strftime("%Y%m%d").to_string()).unwrap_or_default(),
            sex: person.sex.map(|sex| if sex == Sex::Male { "M" } else { "F" }).unwrap_or_default(),
            age: person.age.map(|age| age.to_string()).unwrap_or_default(),
        }
    }
}

impl Reply {
    /// Parses a body.
    ///
    /// # Errors
    /// [`Reason::Garbage`] for anything but the documented format.
    pub fn parse(body: &[u8]) -> Result<Self, Fault> {
        json::read(body).ok_or(Fault::unreadable(Reason::Garbage))
    }

    /// A verdict about `asked`, with `person`'s details.
    pub fn result(verdict: Verdict, asked: Option<&Asked>, person: &PersonDetails) -> Self {
        let (code, message) = codes::of(verdict);
        Self { person: Some(Person::of(person)), ..Self::new(code, message, asked) }
    }

    /// An error about `asked`.
    pub fn failure(row: &Code, asked: Option<&Asked>) -> Self {
        Self::new(row.code, row.message, asked)
    }

    fn new(code: &str, message: &str, asked: Option<&Asked>) -> Self {
        Self {
            name: asked.map(|asked| asked.name.clone()),
            id_no: asked.map(|asked| asked.id_number.clone()),
            resp_message: Some(message.to_owned()),
            resp_code: code.to_owned(),
            person: None,
        }
    }
}
