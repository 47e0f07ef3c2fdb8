//! The reply of `GET /idcard`, read and written. The request has no body: `xm` and `sfz` are in the query.

use serde::{Deserialize, Serialize};

use super::codes;
use crate::domain::id_number::Sex;
use crate::domain::outcome::{Fault, Reason};
use crate::domain::personal::Personal;
use crate::domain::region::Region;
use crate::domain::verdict::Verdict;
use crate::providers::alibaba::market::echo;
use crate::providers::codec::json;
use crate::providers::{Asked, PersonDetails};

/// The reply. `serde` rejects a document with a duplicate of a decisive member.
#[derive(Serialize, Deserialize)]
pub struct Reply {
    /// 1 is a result, anything else an error.
    pub ok: i64,
    /// The result or error text, possibly with a suffix.
    pub msg: String,
    /// The name, masked.
    #[serde(default, with = "echo", skip_serializing_if = "Option::is_none")]
    pub xm: Option<Personal>,
    /// The number, masked.
    #[serde(default, with = "echo", skip_serializing_if = "Option::is_none")]
    pub sfz: Option<Personal>,
    /// Whether name and number match; absent or false for every other result.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matched: Option<bool>,
    /// Year and day of birth, masked. Written only: we derive it from the number.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    birthday: Option<String>,
    /// 男 or 女. Written only.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    sex: Option<&'static str>,
    /// Province, city and county, the county masked. Written only.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

impl Reply {
    /// Parses a body.
    ///
    /// # Errors
    /// [`Reason::Garbage`] for anything but the documented format.
    pub fn parse(body: &[u8]) -> Result<Self, Fault> {
        json::read(body).ok_or(Fault::unreadable(Reason::Garbage))
    }

    /// A result about `asked`, masked as in the document's sample, with `person`'s details.
    pub fn result(verdict: Verdict, asked: Option<&Asked>, person: &PersonDetails) -> Self {
        let number = asked.map(|asked| asked.id_number.expose()).unwrap_or_default();
        let birthday = person.birth_date.map(|date| date.strftime("%Y%m%d").to_string());
        Self {
            ok: 1,
            msg: codes::result_text(verdict).to_owned(),
            xm: asked.and_then(|asked| masked_name(asked.name.expose())).map(Personal::new),
            sfz: mask(number, 4, "*****", 2).map(Personal::new),
            matched: Some(verdict == Verdict::Match),
            birthday: birthday.and_then(|birthday| mask(&birthday, 2, "****", 2)),
            sex: person.sex.map(|sex| if sex == Sex::Male { "男" } else { "女" }),
            address: person.region.as_ref().and_then(address),
        }
    }

    /// An error text.
    pub fn failure(msg: &str) -> Self {
        Self {
            ok: 0,
            msg: msg.to_owned(),
            xm: None,
            sfz: None,
            matched: None,
            birthday: None,
            sex: None,
            address: None,
        }
    }
}

/// The first character and two asterisks, whatever the length.
fn masked_name(name: &str) -> Option<String> {
    name.chars().next().map(|first| format!("{first}**"))
}

/// `福建省泉州市**县`: only the last character of the county is shown.
fn address(region: &Region) -> Option<String> {
    let county = region.county.as_deref().and_then(|county| county.chars().last()).map(|kind| format!("**{kind}"));
    let parts = [region.province.clone(), region.city.clone(), county];
    let whole: String = parts.into_iter().flatten().collect();
    (!whole.is_empty()).then_some(whole)
}

/// The first `head` and the last `tail` characters of `text` around `stars`, if it is longer than both.
fn mask(text: &str, head: usize, stars: &str, tail: usize) -> Option<String> {
    let shown = text.get(..head).zip(text.get(text.len().checked_sub(tail)?..));
    shown.filter(|_| text.len() > head + tail).map(|(head, tail)| format!("{head}{stars}{tail}"))
}
