//! The response document of a verdict.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, header};
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::region::{Region, Regions};
use crate::domain::subject::Subject;
use crate::domain::verdict::Verdict;
use crate::json_writer::Object;
use crate::server::http::attempt::{self, AttemptDocument};
use crate::server::http::schema::{
    ALTERNATE_SPELLING, CONVERTED, RegionStatusWord, SexWord, SourceWord, VerdictWord, WarningWord,
};
use crate::server::http::timestamp::Written;
use crate::server::pipeline::Verified;
use crate::verify::Attempt;

/// Initial capacities large enough for a usual response, so that it needs no reallocation.
const USUAL_BYTES: usize = 384;
const USUAL_HEADERS: usize = 8;

/// The answer to a question.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VerifyReply {
    /// This answer's own id (UUID version 7), to be kept by the caller.
    pub verification_id: Uuid,
    /// `match`, `mismatch` or `no_record`.
    #[schema(value_type = VerdictWord)]
    pub verdict: &'static str,
    /// Where the verdict comes from.
    pub provenance: Provenance,
    /// What a person should know before drawing conclusions.
    #[schema(value_type = Vec<WarningWord>, example = json!(["converted_15_digit"]))]
    pub warnings: Vec<&'static str>,
    /// What the number itself tells; only with `include_person`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub person: Option<Person>,
}

/// Where a verdict comes from.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Provenance {
    /// The provider that gave it.
    pub provider: String,
    /// The provider's reference for its call.
    pub provider_request_id: Option<String>,
    /// `provider` (this request led the call), `shared` (it joined one in flight), `cache` (remembered).
    #[schema(value_type = SourceWord)]
    pub source: &'static str,
    /// When the provider answered (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub verified_at: String,
    /// The attempts made for this request; empty unless it led the call.
    #[serde(serialize_with = "attempt::documents")]
    #[schema(value_type = Vec<AttemptDocument<'static>>)]
    pub attempts: Vec<Attempt>,
}

/// What the number itself tells, derived locally and never by a provider.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Person {
    /// ISO date.
    #[schema(example = "1949-12-31")]
    pub birth_date: Option<String>,
    /// Completed years, today in China.
    pub age: Option<u16>,
    /// `female` or `male`.
    #[schema(value_type = Option<SexWord>)]
    pub sex: Option<&'static str>,
    /// Region of first registration: neither birthplace nor residence.
    pub region: RegionDocument,
}

/// Region of first registration, with the names of that time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RegionDocument {
    /// Six digits.
    #[schema(example = "110105")]
    pub code: Option<String>,
    /// Province level.
    pub province: Option<String>,
    /// Prefecture level; municipalities have none.
    pub city: Option<String>,
    /// County level.
    pub county: Option<String>,
    /// `exact`, `partial` or `unknown`.
    #[schema(value_type = RegionStatusWord)]
    pub status: &'static str,
}

impl VerifyReply {
    /// `person` is included only if the caller asked for it.
    pub(in crate::server) fn new(verified: &Verified, subject: &Subject, person: Option<Person>) -> Self {
        Self {
            verification_id: verified.id,
            verdict: verified.verdict.as_str(),
            provenance: Provenance {
                provider: verified.provider.to_string(),
                provider_request_id: verified.provider_request_id.as_ref().map(|id| id.as_str().to_owned()),
                source: verified.source.as_str(),
                verified_at: Written::of(verified.verified_at.at).as_str().to_owned(),
                attempts: verified.attempts.clone(),
            },
            warnings: warnings(verified.verdict, subject).collect(),
            person,
        }
    }
}

/// The HTTP response, with its headers, which use the memory of `headers`.
pub(in crate::server) fn response(
    verified: &Verified,
    subject: &Subject,
    person: Option<&Person>,
    mut headers: HeaderMap,
) -> Response<Body> {
    let mut body = Vec::with_capacity(USUAL_BYTES);
    write(verified, subject, person, &mut body);
    headers.clear();
    headers.reserve(USUAL_HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // No intermediate cache may store answers about people.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = headers;
    response
}

/// Writes a [`VerifyReply`] without making one.
fn write(verified: &Verified, subject: &Subject, person: Option<&Person>, body: &mut Vec<u8>) {
    let mut id = Uuid::encode_buffer();
    let mut reply = Object::open(body);
    reply.word("verification_id", Some(verified.id.hyphenated().encode_lower(&mut id)));
    reply.word("verdict", Some(verified.verdict.as_str()));
    let mut provenance = reply.object("provenance");
    provenance.text("provider", &verified.provider);
    match &verified.provider_request_id {
        Some(id) => provenance.text("provider_request_id", id.as_str()),
        None => provenance.value("provider_request_id", &()),
    }
    provenance.word("source", Some(verified.source.as_str()));
    provenance.plain("verified_at", Written::of(verified.verified_at.at).as_bytes());
    provenance.objects("attempts", &*verified.attempts, |object, attempt| AttemptDocument::from(attempt).write(object));
    provenance.close();
    reply.texts("warnings", warnings(verified.verdict, subject));
    if let Some(person) = person {
        reply.value("person", person);
    }
    reply.close();
}

/// Warnings that apply to this verdict: about the number, an alternate spelling and the name.
fn warnings(verdict: Verdict, subject: &Subject) -> impl Iterator<Item = &'static str> {
    let name = subject.parsed_name();
    let converted = subject.number().was_converted().then_some(CONVERTED);
    let may_differ = verdict == Verdict::Mismatch && name.has_alternate_spelling();
    let alternate = may_differ.then_some(ALTERNATE_SPELLING);
    let names = name.warnings().iter().map(|warning| warning.as_str());
    converted.into_iter().chain(alternate).chain(names)
}

impl Person {
    /// Derives the fields from `subject`'s number, as of `today`.
    pub fn of(subject: &Subject, regions: &Regions, today: Date) -> Self {
        let number = subject.number();
        Self {
            birth_date: number.birth_date().map(|date| date.to_string()),
            age: number.age_on(today),
            sex: number.sex().map(|sex| sex.as_str()),
            region: regions.of(number).into(),
        }
    }
}

impl From<Region> for RegionDocument {
    fn from(region: Region) -> Self {
        Self {
            code: region.code,
            province: region.province,
            city: region.city,
            county: region.county,
            status: region.status.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::domain::clock::{Moment, Monotonic};
    use crate::domain::id_number::{Calendar, IdNumber};
    use crate::domain::money::Billed;
    use crate::domain::name::Name;
    use crate::domain::outcome::{Outcome, Reason};
    use crate::domain::subject::PairRules;
    use crate::domain::verdict::RequestId;
    use crate::verify::Source;

    #[test]
    fn a_reply_is_written_as_its_document_says() {
        let today = jiff::civil::date(2026, 11, 28);
        let number = IdNumber::parse("110105491231002", today, Calendar::Strict).unwrap();
        let subject = Subject::new(Name::parse("\u{E863}").unwrap(), number, PairRules::default()).unwrap();
        let attempt = Attempt {
            provider: Arc::from("p"),
            endpoint: Arc::from("https://p.example/"),
            outcome: Outcome::ALL[0],
            reason: Reason::Unspecified,
            code: None,
            billed: Billed::Yes,
            duration: Duration::from_millis(12),
            began: None,
            retry_after: None,
        };
        for (attempts, provider_request_id) in
            [(Vec::new(), None), (vec![attempt.clone(), attempt], RequestId::parse("r-1"))]
        {
            let verified = Verified {
                id: Uuid::from_u128(7),
                verdict: Verdict::Mismatch,
                provider: Arc::from("p"),
                provider_request_id,
                verified_at: Moment { at: jiff::Timestamp::UNIX_EPOCH, monotonic: Monotonic(0) },
                source: Source::Provider,
                attempts,
            };
            for person in [None, Some(Person::of(&subject, &Regions::embedded().unwrap(), today))] {
                let mut written = Vec::new();
                write(&verified, &subject, person.as_ref(), &mut written);
                let document = serde_json::to_string(&VerifyReply::new(&verified, &subject, person)).unwrap();
                assert_eq!(String::from_utf8(written).unwrap(), document);
                assert!(document.contains("converted_15_digit") && document.contains("alternate_spelling_possible"));
            }
        }
    }
}
