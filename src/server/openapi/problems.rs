//! Every problem that an operation can answer with, and the headers of each answer, for `openapi.yaml`.
//!
//! Invariant: nothing is typed twice. Texts come from the table in `http::code`; the codes of an operation stand beside
//! its handler.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Type,
};
use uuid::Uuid;

use crate::domain::id_number::InvalidIdNumber;
use crate::providers::DRIVERS;
use crate::server::api;
use crate::server::http::code::Code;
use crate::server::http::problem::Problem;
use crate::server::records::handlers;

/// A header's name, and what it says.
type HeaderText = (&'static str, &'static str);

const REQUEST_ID: HeaderText = ("X-Request-Id", "The id of this request, as logged");
const NO_STORE: HeaderText = ("Cache-Control", "Always `no-store`: nobody between us and the caller keeps it");
const PUBLIC: HeaderText = ("Cache-Control", "`public, max-age=3600`: the keys change rarely");
const RATE: HeaderText = ("RateLimit", "What is left of the client's rate (IETF draft)");
const RATE_POLICY: HeaderText = ("RateLimit-Policy", "The client's rate (IETF draft)");
const RETRY_AFTER: HeaderText = ("Retry-After", "The earliest time that helps, in seconds");
const AUTHENTICATE: HeaderText = ("WWW-Authenticate", "`Bearer`");
const PREFERENCE: HeaderText = ("Preference-Applied", "`wait=N`, if it was asked for (RFC 7240)");

/// Adds to each operation every problem that its callers can meet, each with an example, and the headers of all
/// answers; and to `POST /v1/verify` an example of an answer.
pub struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut OpenApi) {
        let lookup = handlers::PROBLEMS.to_vec();
        let search = [&lookup[..], &handlers::PROBLEMS_OF_SEARCH].concat();
        let receipt = [&lookup[..], &handlers::PROBLEMS_OF_RECEIPT].concat();
        let services = [
            (api::ROUTE, Kind::Question, api::handler::PROBLEMS.to_vec()),
            (handlers::ROUTE_ONE, Kind::LookUp, lookup.clone()),
            (handlers::ROUTE_ALL, Kind::LookUp, lookup),
            (handlers::ROUTE_SEARCH, Kind::LookUp, search),
            (handlers::ROUTE_RECEIPT, Kind::LookUp, receipt),
            (handlers::ROUTE_KEYS, Kind::ForEverybody, handlers::PROBLEMS_OF_KEYS.to_vec()),
        ];
        for (route, kind, codes) in services {
            let Some(operation) = operation(document, route) else { continue };
            add_problems(operation, &codes, kind);
            if let Some(RefOr::T(answer)) = operation.responses.responses.get_mut("200") {
                match kind {
                    // Its own are beside its handler.
                    Kind::Question => {}
                    Kind::LookUp => add_headers(answer, &[NO_STORE, RATE, RATE_POLICY]),
                    Kind::ForEverybody => add_headers(answer, &[PUBLIC]),
                }
            }
        }
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                for answer in operation.responses.responses.values_mut() {
                    if let RefOr::T(answer) = answer {
                        add_headers(answer, &[REQUEST_ID]);
                    }
                }
            }
        }
        let responses = operation(document, api::ROUTE).map(|operation| &mut operation.responses.responses);
        if let Some(RefOr::T(answered)) = responses.and_then(|responses| responses.get_mut("200"))
            && let Some(RefOr::T(content)) = answered.content.get_mut("application/json")
        {
            content.example = Some(answer());
        }
    }
}

fn operation<'a>(document: &'a mut OpenApi, route: &str) -> Option<&'a mut Operation> {
    let item = document.paths.paths.get_mut(route)?;
    item.post.as_mut().or(item.get.as_mut())
}

/// What an operation does before it can meet a problem, which decides the headers of the problem.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Counts against the client's rate, and may be told how long to wait.
    Question,
    /// Counts against the client's rate.
    LookUp,
    /// Knows no client.
    ForEverybody,
}

/// Adds these problems to an operation, one response a status.
pub(super) fn add_problems(operation: &mut Operation, codes: &[Code], kind: Kind) {
    for status in codes.iter().map(|code| code.status()) {
        let codes: Vec<_> = codes.iter().copied().filter(|code| code.status() == status).collect();
        operation.responses.responses.insert(status.as_str().to_owned(), response(&codes, kind).into());
    }
}

/// The response of one status, with all its codes.
fn response(codes: &[Code], kind: Kind) -> Response {
    let described: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let examples = codes.iter().map(|&code| {
        let value = serde_json::to_value(example(code)).unwrap_or_default();
        (code.as_str(), ExampleBuilder::new().summary(code.title()).value(Some(value)).build())
    });
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).examples_from_iter(examples).build();
    let new = ResponseBuilder::new().description(described.join(" ")).content("application/problem+json", content);
    let mut response = new.build();
    add_headers(&mut response, &[NO_STORE, REQUEST_ID]);
    for &code in codes {
        let (retry_after, stage) = (says_when(code), Stage::of(code, kind));
        let rate = kind != Kind::ForEverybody && stage != Stage::BeforeAdmission;
        let preference = kind == Kind::Question && stage == Stage::AfterQuestion;
        let headers = [
            (code.status() == StatusCode::UNAUTHORIZED, AUTHENTICATE),
            (rate, RATE),
            (rate, RATE_POLICY),
            (retry_after, RETRY_AFTER),
            (preference, PREFERENCE),
        ];
        let headers: Vec<_> = headers.into_iter().filter_map(|(is_given, header)| is_given.then_some(header)).collect();
        add_headers(&mut response, &headers);
    }
    response
}

fn add_headers(response: &mut Response, headers: &[HeaderText]) {
    for (name, description) in headers {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let header: Header = HeaderBuilder::new().schema(Some(text)).description(Some(*description)).build();
        response.headers.entry((*name).to_owned()).or_insert(header.into());
    }
}

/// How far a request has come when it meets a problem.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    BeforeAdmission,
    Admitted,
    AfterQuestion,
}

impl Stage {
    /// The last stage in which a request can meet `code`.
    fn of(code: Code, kind: Kind) -> Self {
        match code {
            // A question may lack a right of its client; a look-up is only refused for its page.
            Code::Forbidden if kind == Kind::LookUp => Self::BeforeAdmission,
            Code::Unauthenticated | Code::MethodNotAllowed | Code::Overloaded => Self::BeforeAdmission,
            Code::MalformedRequest
            | Code::NotFound
            | Code::Forbidden
            | Code::NotAcceptable
            | Code::RequestTimeout
            | Code::ReceiptUnavailable
            | Code::PayloadTooLarge
            | Code::UnsupportedMediaType
            | Code::HeadersTooLarge
            | Code::InvalidName
            | Code::InvalidIdNumber
            | Code::InvalidConfiguration => Self::Admitted,
            Code::IdempotencyInProgress
            | Code::UnsupportedDocument
            | Code::RejectedByProvider
            | Code::IdempotencyKeyReused
            | Code::RateLimited
            | Code::SubjectThrottled
            | Code::EnumerationSuspected
            | Code::BudgetExhausted
            | Code::Internal
            | Code::ProviderFailure
            | Code::NoProviderAvailable
            | Code::LedgerUnavailable
            | Code::ShuttingDown
            | Code::OutcomeUnknown
            | Code::NotCached => Self::AfterQuestion,
        }
    }
}

/// Whether the problem can say when to ask again.
const fn says_when(code: Code) -> bool {
    matches!(
        code,
        Code::IdempotencyInProgress
            | Code::RateLimited
            | Code::SubjectThrottled
            | Code::EnumerationSuspected
            | Code::BudgetExhausted
            | Code::ProviderFailure
            | Code::NoProviderAvailable
            | Code::LedgerUnavailable
            | Code::Overloaded
            | Code::ShuttingDown
            | Code::OutcomeUnknown
    )
}

/// A problem as a caller may see it.
fn example(code: Code) -> Problem {
    let plain = Problem::new(code).with_request_id("0199f3b2-7c1e-7c55-9d0a-4c2f0f6b9a11");
    match code {
        Code::InvalidIdNumber => {
            let wrong = InvalidIdNumber::BadChecksum;
            plain.with_error("/id_number", wrong.reason(), wrong.detail())
        }
        Code::RateLimited
        | Code::BudgetExhausted
        | Code::Overloaded
        | Code::LedgerUnavailable
        | Code::NoProviderAvailable
        | Code::IdempotencyInProgress => plain.with_retry_after(Duration::from_secs(1)),
        Code::OutcomeUnknown => {
            let id = Uuid::from_u128(0x0199_f3b2_7c1e_7c55_9d0a_4c2f_0f6b_9a12);
            plain.with_retry_after(Duration::from_secs(1)).perhaps_billed().with_verification_id(id)
        }
        _ => plain,
    }
}

fn answer() -> Value {
    let provider = DRIVERS.first().map(|driver| driver.name).unwrap_or_default();
    json!({
        "verification_id": "0199f3b2-7c1e-7c55-9d0a-4c2f0f6b9a11",
        "verdict": "match",
        "provenance": {
            "provider": provider,
            "provider_request_id": "130A2C10-B9EE-4D84-88E3-5384FF039795",
            "source": "provider",
            "verified_at": "2026-11-22T08:00:00.123Z",
            "attempts": [{
                "provider": provider, "endpoint": "provider.example", "outcome": "verdict", "billed": "yes",
                "duration_ms": 83
            }]
        },
        "warnings": []
    })
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;
    use utoipa::openapi::schema::Schema;

    use super::*;

    #[test]
    fn every_code_is_in_the_list_that_documents_them() {
        let RefOr::T(Schema::Object(schema)) = Code::schema() else { panic!("codes are an enum") };
        let words: Vec<_> = Code::ALL.iter().map(|code| Value::from(code.as_str())).collect();
        assert_eq!(schema.enum_values.unwrap(), words);
    }
}
