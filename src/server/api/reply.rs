//! A verdict as a document.

use std::borrow::Cow;

use axum::body::Body;
use http::{HeaderValue, Response, header};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::document::{BilledWord, OutcomeWord, RegionStatusWord, SexWord, SourceWord, VerdictWord, WarningWord};
use crate::domain::region::{Region, Regions};
use crate::domain::subject::Subject;
use crate::domain::verdict::Verdict;
use crate::storage::ledger;
use crate::verify::{Answer, Attempt};

/// Room for an answer and its headers, so that neither has to move while it grows.
const USUAL_BYTES: usize = 512;
const USUAL_HEADERS: usize = 8;

/// The warnings that are not the name's own.
pub const CONVERTED: &str = "converted_15_digit";
/// The name has another spelling, under which it might match.
pub const ALTERNATE_SPELLING: &str = "alternate_spelling_possible";

/// The answer to a question.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VerifyReply {
    /// This answer's own id (UUID version 7), to be kept by the caller.
    pub verification_id: Uuid,
    /// `match`, `mismatch` or `no_record`.
    #[schema(value_type = VerdictWord)]
    pub verdict: Cow<'static, str>,
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
    pub source: Cow<'static, str>,
    /// When the provider answered (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub verified_at: String,
    /// The attempts made for this request; empty unless it led the call.
    pub attempts: Vec<AttemptDocument>,
}

/// One try at a provider, or the reason why there was none.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AttemptDocument {
    /// The provider.
    pub provider: String,
    /// Its endpoint; empty where the provider as a whole was passed over.
    pub endpoint: String,
    /// What it came to.
    #[schema(value_type = OutcomeWord)]
    pub outcome: Cow<'static, str>,
    /// The finer cause, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    pub reason: Option<Cow<'static, str>>,
    /// Whether it is charged for: `yes`, `no` or `unknown`.
    #[schema(value_type = BilledWord)]
    pub billed: Cow<'static, str>,
    /// Milliseconds.
    pub duration_ms: u64,
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
    /// The answer that carries this reply.
    pub fn to_response(&self) -> Response<Body> {
        let mut body = Vec::with_capacity(USUAL_BYTES);
        // Serializing a struct of strings and numbers cannot fail; an empty body is still a valid answer.
        let _ = serde_json::to_writer(&mut body, self);
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.reserve(USUAL_HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Nobody between us and the caller is to keep answers about people.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// What a person should know of an answer before drawing conclusions.
pub(in crate::server) fn warnings(verdict: &str, subject: &Subject) -> Vec<&'static str> {
    let name = subject.parsed_name();
    let converted = subject.number().was_converted().then_some(CONVERTED);
    let may_differ = verdict == Verdict::Mismatch.as_str() && name.has_alternate_spelling();
    let alternate = may_differ.then_some(ALTERNATE_SPELLING);
    let names = name.warnings().iter().map(|warning| warning.as_str());
    converted.into_iter().chain(alternate).chain(names).collect()
}

/// As it stands in the ledger: without what follows from the person, who is not there.
impl From<ledger::Answer> for VerifyReply {
    fn from(answer: ledger::Answer) -> Self {
        let verified_at = Timestamp::from_millisecond(answer.verified_at_ms.unwrap_or_default());
        Self {
            verification_id: answer.id,
            verdict: Cow::Owned(answer.outcome),
            provenance: Provenance {
                provider: answer.provider.unwrap_or_default(),
                provider_request_id: answer.provider_request_id,
                source: Cow::Owned(answer.source.unwrap_or_default()),
                verified_at: format!("{:.3}", verified_at.unwrap_or_default()),
                attempts: answer.attempts.into_iter().map(AttemptDocument::from).collect(),
            },
            warnings: Vec::new(),
            person: None,
        }
    }
}

impl From<ledger::Attempt> for AttemptDocument {
    fn from(attempt: ledger::Attempt) -> Self {
        Self {
            provider: attempt.provider,
            endpoint: attempt.endpoint,
            outcome: Cow::Owned(attempt.outcome),
            reason: attempt.reason.map(Cow::Owned),
            billed: Cow::Owned(attempt.billed),
            duration_ms: attempt.duration_ms,
        }
    }
}

impl AttemptDocument {
    /// One word for the log line: `provider/endpoint=outcome(billed)`.
    pub(in crate::server) fn in_short(&self) -> String {
        format!("{}/{}={}({})", self.provider, self.endpoint, self.outcome, self.billed)
    }
}

impl From<&Attempt> for AttemptDocument {
    fn from(attempt: &Attempt) -> Self {
        Self {
            provider: attempt.provider.to_string(),
            endpoint: attempt.endpoint.to_string(),
            outcome: Cow::Borrowed(attempt.outcome.as_str()),
            reason: attempt.reason.is_specific().then(|| Cow::Borrowed(attempt.reason.as_str())),
            billed: Cow::Borrowed(attempt.billed.as_str()),
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<&Answer> for Provenance {
    fn from(answer: &Answer) -> Self {
        Self {
            provider: answer.provider.to_string(),
            provider_request_id: answer.provider_request_id.as_ref().map(|id| id.as_str().to_owned()),
            source: Cow::Borrowed(answer.source.as_str()),
            verified_at: format!("{:.3}", answer.verified_at),
            attempts: answer.attempts.iter().map(AttemptDocument::from).collect(),
        }
    }
}

impl Person {
    /// What `subject`'s number tells on the day `today`.
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
