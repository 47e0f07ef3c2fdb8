//! The reply of `POST /idenAuthentication`, both ways. The request is a form of `idNo` and `name`.

use serde::{Deserialize, Serialize};

use super::codes;
use crate::domain::id_number::Sex;
use crate::domain::outcome::{Fault, Reason};
use crate::domain::personal::Personal;
use crate::domain::verdict::Verdict;
use crate::providers::alibaba::json;
use crate::providers::alibaba::market::{self, echo};
use crate::providers::{Asked, Code};

/// The reply. A member that decides something is never taken twice: `serde` refuses the document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// The name, in full.
    #[serde(default, with = "echo")]
    pub name: Option<Personal>,
    /// The number, in full.
    #[serde(default, with = "echo")]
    pub id_no: Option<Personal>,
    /// [`Reply::resp_code`] in words.
    #[serde(default)]
    pub resp_message: Option<String>,
    /// The result or failure, four digits.
    pub resp_code: String,
    /// What goes with a result. Only written: we derive it ourselves.
    #[serde(flatten, skip_deserializing)]
    person: Option<Person>,
}

/// What the provider derives from the number. Places and age stay empty: they take a region table and a clock.
#[derive(Serialize, Default)]
struct Person {
    province: &'static str,
    city: &'static str,
    county: &'static str,
    birthday: String,
    sex: &'static str,
    age: &'static str,
}

impl Reply {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Reason::Garbage`] for whatever is not the document.
    pub fn parse(body: &[u8]) -> Result<Self, Fault> {
        json::read(body).ok_or(Fault::unreadable(Reason::Garbage))
    }

    /// A verdict about `asked`.
    pub fn result(verdict: Verdict, asked: Option<&Asked>) -> Self {
        let (code, message) = codes::of(verdict);
        let number = asked.map(|asked| asked.id_number.expose()).unwrap_or_default();
        let told = market::told_by(number).map(|(birthday, sex)| Person {
            birthday: birthday.to_owned(),
            sex: if sex == Sex::Male { "M" } else { "F" },
            ..Person::default()
        });
        Self { person: Some(told.unwrap_or_default()), ..Self::new(code, message, asked) }
    }

    /// A failure to answer about `asked`.
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
