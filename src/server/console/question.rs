//! A question that was asked here and what came of it, as they are kept until their page is shown.

use std::sync::Arc;

use serde::Serialize;
use zeroize::Zeroizing;

use super::form::Form;
use crate::domain::personal::Personal;
use crate::server::http::problem::Refused;
use crate::server::pipeline::Verified;

/// What was asked. Any field may have a person, for somebody may write a number into any of them.
pub(super) struct Asked {
    pub(super) name: Option<Personal>,
    pub(super) id_number: Option<Personal>,
    purpose: Option<Personal>,
    reference: Option<Personal>,
    pub(super) wants_person: bool,
    pub(super) no_cache: bool,
}

/// What came of a question.
pub(super) struct Answered {
    /// `None` if it was not a question: then it is neither bounded nor worth repeating.
    pub(super) asked: Option<Asked>,
    pub(super) result: Result<Arc<Verified>, Refused>,
}

/// The body of the same question of a program.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    include_person: bool,
}

impl Asked {
    pub(super) fn of(form: &Form) -> Self {
        let text = |name| form.text(name).map(Personal::new);
        Self {
            name: text("name"),
            id_number: text("id_number"),
            purpose: text("purpose"),
            reference: text("reference"),
            wants_person: form.text("include_person").is_some(),
            no_cache: form.text("no_cache").is_some(),
        }
    }

    /// The question as JSON. Wiped on drop, and never moved while it grows.
    pub(super) fn json(&self) -> Zeroizing<Vec<u8>> {
        let [name, id_number, purpose, reference] = [&self.name, &self.id_number, &self.purpose, &self.reference]
            .map(|text| text.as_ref().map(Personal::expose));
        let text: usize = [name, id_number, purpose, reference].into_iter().flatten().map(str::len).sum();
        // An escaped character takes six bytes at most.
        let mut json = Zeroizing::new(Vec::with_capacity(6 * text + 128));
        let body = Body { name, id_number, purpose, reference, include_person: self.wants_person };
        if serde_json::to_writer(&mut *json, &body).is_err() {
            json.clear();
        }
        json
    }
}
