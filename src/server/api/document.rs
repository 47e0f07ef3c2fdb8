//! What only the documentation needs: the words of closed sets, the request's headers, and every problem as a response.
//!
//! Invariant: nothing here is typed twice. Words come from the enums that write them, problems from the table of
//! `problem`; a new row there is a new line in `openapi.yaml`.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Type,
};
use utoipa::{IntoParams, Modify, PartialSchema, ToSchema};

use super::ROUTE;
use super::reply::{ALTERNATE_SPELLING, CONVERTED};
use crate::domain::id_number::{InvalidIdNumber, Sex};
use crate::domain::money::Billed;
use crate::domain::name::Warning;
use crate::domain::outcome::Outcome;
use crate::domain::region::RegionStatus;
use crate::domain::verdict::Verdict;
use crate::providers::DRIVERS;
use crate::server::http::{code::Code, problem::Problem};
use crate::server::records::{lookup, receipt};
use crate::verify::Source;

/// The headers of a question.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the documented form of what `headers` reads")]
pub struct VerifyHeaders {
    /// `no-cache` asks again, `max-age=N` takes an answer no older than N seconds, `only-if-cached` asks memory only
    /// (RFC 9111).
    #[param(rename = "Cache-Control", required = false, example = "max-age=60")]
    cache_control: String,
    /// `wait=N`: the seconds the caller waits, at most `server.request_timeout` (RFC 7240).
    #[param(rename = "Prefer", required = false, example = "wait=5")]
    prefer: String,
    /// The same key and body get the same answer for 24 hours; another body with the same key is refused (IETF draft).
    #[param(rename = "Idempotency-Key", required = false, min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: String,
    /// The caller's own id for this request: up to 128 of letters, digits and `-_.:`, fewer than 15 digits in a row;
    /// anything else is replaced by an id of ours.
    #[param(rename = "X-Request-Id", required = false, example = "payout-4711")]
    x_request_id: String,
    /// The caller's trace; its trace id stands in the log line (W3C Trace Context).
    #[param(
        rename = "traceparent",
        required = false,
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )]
    traceparent: String,
}

macro_rules! words {
    ($($(#[$doc:meta])* $word:ident = $name:literal, $all:expr;)*) => {$(
        $(#[$doc])*
        pub struct $word;

        impl PartialSchema for $word {
            fn schema() -> RefOr<Schema> {
                let words = $all;
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
            }
        }

        impl ToSchema for $word {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

words! {
    /// The verdicts.
    VerdictWord = "Verdict", Verdict::ALL.map(Verdict::as_str);
    /// How a verdict came to its caller.
    SourceWord = "Source", [Source::Provider, Source::Shared, Source::Cache].map(Source::as_str);
    /// What an attempt came to.
    OutcomeWord = "Outcome", Outcome::ALL.map(Outcome::as_str);
    /// Whether a call is charged for.
    BilledWord = "Billed", Billed::ALL.map(Billed::as_str);
    /// How much is known of a region.
    RegionStatusWord = "RegionStatus",
        [RegionStatus::Exact, RegionStatus::Partial, RegionStatus::Unknown].map(RegionStatus::as_str);
    /// As the number's sequence tells it.
    SexWord = "Sex", [Sex::Female, Sex::Male].map(Sex::as_str);
    /// What a person should know before drawing conclusions.
    WarningWord = "Warning",
        [CONVERTED, ALTERNATE_SPELLING].into_iter().chain(Warning::ALL.map(Warning::as_str));
}

/// The problems that a look-up can meet, of the four kinds: by id, by id as a receipt, in pages, by person.
const OF_ALL_LOOK_UPS: [Code; 9] = [
    Code::Unauthenticated,
    Code::NotFound,
    Code::MethodNotAllowed,
    Code::NotAcceptable,
    Code::RateLimited,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::LedgerUnavailable,
    Code::Overloaded,
];
const OF_A_RECEIPT: [Code; 1] = [Code::ReceiptUnavailable];
const OF_KEYS: [Code; 2] = [Code::MethodNotAllowed, Code::HeadersTooLarge];
const OF_PAGES: [Code; 1] = [Code::MalformedRequest];
const OF_A_SEARCH: [Code; 5] =
    [Code::RequestTimeout, Code::PayloadTooLarge, Code::UnsupportedMediaType, Code::InvalidName, Code::InvalidIdNumber];

/// Adds to each operation for services every problem that its callers can meet, each with an example; and to
/// `POST /v1/verify` an example of an answer.
pub struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut OpenApi) {
        let of_pages = [&OF_ALL_LOOK_UPS[..], &OF_PAGES].concat();
        let of_a_search = [&of_pages[..], &OF_A_SEARCH].concat();
        let of_a_receipt = [&OF_ALL_LOOK_UPS[..], &OF_A_RECEIPT].concat();
        let all: [(&str, &[Code]); 6] = [
            (ROUTE, &Code::ALL),
            (receipt::ROUTE, &of_a_receipt),
            (receipt::ROUTE_KEYS, &OF_KEYS),
            (lookup::ROUTE_ONE, &OF_ALL_LOOK_UPS),
            (lookup::ROUTE_ALL, &of_pages),
            (lookup::ROUTE_SEARCH, &of_a_search),
        ];
        for (route, possible) in all {
            let item = document.paths.paths.get_mut(route);
            let Some(operation) = item.and_then(|item| item.post.as_mut().or(item.get.as_mut())) else { continue };
            for status in possible.iter().map(|code| code.status()) {
                let codes: Vec<_> = possible.iter().copied().filter(|code| code.status() == status).collect();
                operation.responses.responses.insert(status.as_str().to_owned(), response(status, &codes).into());
            }
        }
        let operation = document.paths.paths.get_mut(ROUTE).and_then(|item| item.post.as_mut());
        let Some(responses) = operation.map(|operation| &mut operation.responses.responses) else { return };
        if let Some(content) = responses.get_mut("200").and_then(|answer| match answer {
            RefOr::T(Response { content, .. }) => content.get_mut("application/json"),
            RefOr::Ref(_) => None,
        }) && let RefOr::T(content) = content
        {
            content.example = Some(answer());
        }
    }
}

/// One status, with all its codes.
pub(in crate::server) fn response(status: StatusCode, codes: &[Code]) -> Response {
    let described: Vec<_> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let examples = codes.iter().map(|&code| {
        let value = serde_json::to_value(example(code)).unwrap_or_default();
        (code.as_str(), ExampleBuilder::new().summary(code.title()).value(Some(value)).build())
    });
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).examples_from_iter(examples).build();
    let with = |response: ResponseBuilder, (name, description): &(&str, &str)| {
        let text = ObjectBuilder::new().schema_type(Type::String);
        response.header(*name, HeaderBuilder::new().schema(Some(text)).description(Some(*description)).build())
    };
    let new = ResponseBuilder::new().description(described.join(" ")).content("application/problem+json", content);
    let new = [("X-Request-Id", "The id of this request, as logged")].iter().fold(new, with);
    headers_of(status).iter().fold(new, with).build()
}

/// The headers that a problem may have beside its id.
const fn headers_of(status: StatusCode) -> &'static [(&'static str, &'static str)] {
    const RATE: (&str, &str) = ("RateLimit", "What is left of the client's rate (IETF draft)");
    const POLICY: (&str, &str) = ("RateLimit-Policy", "The client's rate (IETF draft)");
    match status.as_u16() {
        401 => &[("WWW-Authenticate", "`Bearer`")],
        404 => &[],
        405 => &[("Allow", "The methods that this resource takes")],
        409 | 429 | 502 | 503 | 504 => &[("Retry-After", "The earliest time that helps, in seconds"), RATE, POLICY],
        _ => &[RATE, POLICY],
    }
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
    use super::*;

    #[test]
    fn every_code_is_in_the_list_that_documents_them() {
        let RefOr::T(Schema::Object(schema)) = Code::schema() else { panic!("codes are an enum") };
        let of_the_type = schema.enum_values.unwrap();
        assert_eq!(of_the_type, Code::ALL.map(|code| Value::from(code.as_str())));
    }
}
