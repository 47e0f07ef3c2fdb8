//! Looks for answers, as a form says it. A person is found by digest; nothing else of them is kept.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::form::Form;
use super::sought::Search;
use super::state::Console;
use crate::domain::personal::Personal;
use crate::domain::verdict::Verdict;
use crate::server::auth::operators::Operator;
use crate::server::http::problem::Refused;
use crate::server::pipeline;
use crate::storage::ledger::{Answer, Cursor, Operation, ReadError, Subject};

/// How often a part is read for a page, if a purpose leaves few of each.
const PARTS: usize = 8;

impl Search {
    /// Reads a form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(form: &Form, console: &Console) -> Result<Self, String> {
        let text = |name| form.text(name).map(str::to_owned);
        let mut search = Self { purpose: text("purpose"), ..Self::default() };
        if let Some(id) = form.text("id") {
            let id =
                Uuid::try_parse(id).map_err(|_| "The verification id is not one: it looks like 0199f3b2-7c1e-….")?;
            search.id = Some(id);
        }
        let wanted = &mut search.wanted;
        (wanted.client, wanted.provider) = (text("client"), text("provider"));
        wanted.reference = text("reference");
        wanted.outcome = text("verdict");
        if wanted.outcome.as_ref().is_some_and(|word| Verdict::ALL.iter().all(|one| one.as_str() != word)) {
            return Err("There is no such verdict.".to_owned());
        }
        (wanted.from_ms, wanted.until_ms) = (time(form.text("from"))?, time(form.text("to"))?);
        wanted.subject = match (form.text("name"), form.text("id_number")) {
            (Some(name), Some(number)) => Some(digest(console, name, number).map_err(|problem| problem.in_words())?),
            (None, None) => None,
            _ => return Err("A person is found by name and ID number together.".to_owned()),
        };
        Ok(search)
    }

    /// At most `most` answers after this place, and the place after them.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(super) async fn page(
        &self,
        console: &Console,
        mut cursor: Option<Cursor>,
        most: usize,
    ) -> Result<(Vec<Answer>, Option<Cursor>), ReadError> {
        let mut found = Vec::new();
        for _ in 0..PARTS {
            let (part, next) = console.pipeline.ledger.page(&self.wanted, cursor, most - found.len()).await?;
            let is_wanted = |answer: &Answer| self.purpose.as_ref().is_none_or(|purpose| *purpose == answer.purpose);
            found.extend(part.into_iter().filter(is_wanted));
            cursor = next;
            if cursor.is_none() || found.len() >= most {
                break;
            }
        }
        Ok((found, cursor))
    }

    /// Records that the operator has looked for this.
    pub(super) async fn recorded(&self, console: &Console, operator: &Arc<Operator>, action: &str, outcome: &str) {
        let pipeline = &console.pipeline;
        let key = || pipeline.digest_key.id().to_owned();
        let subject = self.wanted.subject.clone().map(|digest| Subject { key: key(), digest });
        let operation = Operation {
            action: action.to_owned(),
            outcome: outcome.to_owned(),
            operator: operator.name.to_string(),
            verification: self.id,
            subject,
            ..Operation::default()
        };
        pipeline.ledger.record(|id, at_ms| Operation { id, at_ms, ..operation }).await;
    }
}

/// `2026-11-22T08:00`, in UTC, or with a zone.
pub(super) fn time(text: Option<&str>) -> Result<Option<i64>, String> {
    let Some(text) = text else { return Ok(None) };
    let of_zone = || text.parse::<Timestamp>().ok();
    let of_utc = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let at = of_zone().or_else(of_utc).ok_or("A time looks like 2026-11-22T08:00 (UTC).")?;
    Ok(Some(at.as_millisecond()))
}

fn digest(console: &Console, name: &str, number: &str) -> Result<String, Refused> {
    let pipeline = &console.pipeline;
    let (now, today) = (pipeline.current.load(), pipeline.clock.today_in_china());
    let subject = pipeline::subject(now.rules, today, &Personal::new(name), &Personal::new(number))?;
    Ok(pipeline.digest_key.person(&subject).to_hex())
}
