//! The response document of a verdict.

use axum::body::Body;
use http::{HeaderValue, Response, header};
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::region::{Region, Regions};
use crate::domain::subject::Subject;
use crate::domain::verdict::Verdict;
use crate::server::http::attempt::{self, AttemptDocument};
use crate::server::http::schema::{
    ALTERNATE_SPELLING, CONVERTED, RegionStatusWord, SexWord, SourceWord, VerdictWord, WarningWord,
};
use crate::server::pipeline::Verified;
use crate::verify::Attempt;

/// Initial capacities large enough for a usual response, so that it needs no reallocation.
const USUAL_BYTES: usize = 512;
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
                verified_at: format!("{:.3}", verified.verified_at.at),
                attempts: verified.attempts.clone(),
            },
            warnings: warnings(verified.verdict, subject),
            person,
        }
    }

    /// The HTTP response, with its headers.
    pub fn to_response(&self) -> Response<Body> {
        let mut body = Vec::with_capacity(USUAL_BYTES);
        // Serializing a struct of strings and numbers cannot fail.
        let _ = serde_json::to_writer(&mut body, self);
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.reserve(USUAL_HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // No intermediate cache may store answers about people.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Warnings that apply to this verdict: about the number, an alternate spelling and the name.
fn warnings(verdict: Verdict, subject: &Subject) -> Vec<&'static str> {
    let name = subject.parsed_name();
    let converted = subject.number().was_converted().then_some(CONVERTED);
    let may_differ = verdict == Verdict::Mismatch && name.has_alternate_spelling();
    let alternate = may_differ.then_some(ALTERNATE_SPELLING);
    let names = name.warnings().iter().map(|warning| warning.as_str());
    converted.into_iter().chain(alternate).chain(names).collect()
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
