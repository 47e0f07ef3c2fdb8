//! Every problem that an operation can answer with, as a response in `openapi.yaml`.
//!
//! Invariant: no text is typed twice; it comes from the table in `http::code`.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use utoipa::Modify;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Type,
};

use crate::domain::id_number::InvalidIdNumber;
use crate::providers::DRIVERS;
use crate::server::api::ROUTE;
use crate::server::http::code::Code;
use crate::server::http::problem::Problem;
use crate::server::records::handlers;

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
            (handlers::ROUTE_RECEIPT, &of_a_receipt),
            (handlers::ROUTE_KEYS, &OF_KEYS),
            (handlers::ROUTE_ONE, &OF_ALL_LOOK_UPS),
            (handlers::ROUTE_ALL, &of_pages),
            (handlers::ROUTE_SEARCH, &of_a_search),
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
    use utoipa::PartialSchema;
    use utoipa::openapi::schema::Schema;

    use super::*;

    #[test]
    fn every_code_is_in_the_list_that_documents_them() {
        let RefOr::T(Schema::Object(schema)) = Code::schema() else { panic!("codes are an enum") };
        let of_the_type = schema.enum_values.unwrap();
        assert_eq!(of_the_type, Code::ALL.map(|code| Value::from(code.as_str())));
    }
}
