//! The OpenAPI document. `idgate openapi` writes it to `openapi.yaml`, and a test compares the two.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::ServerBuilder;
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use self::problems::{Kind, Problems, add_problems};
use super::auth::operators::OPEN;
use super::http::code::Code;
use super::http::page_headers;
use super::records::forget;
use super::records::handlers::ROUTE_ALL;
use super::{admin, api};

mod problems;

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "idgate",
        description = "Do this name and this Chinese ID number belong together? One question, one clear answer, whichever provider gave it.",
    ),
    servers((url = "http://127.0.0.1:8080", description = "Where services ask: `server.listen`")),
    paths(
        api::handler::verify,
        super::records::handlers::page,
        super::records::handlers::one,
        super::records::handlers::search,
        super::records::handlers::receipt,
        super::records::handlers::published,
        admin::health::livez,
        admin::health::readyz,
        admin::health::metrics,
        admin::status::status,
        admin::providers::isolate,
        admin::providers::restore,
        admin::reload::reload,
        admin::log_level::set,
        admin::changes::changes,
        super::records::forget::forget,
    ),
    components(schemas(super::http::problem::Problem)),
    modifiers(&ClientKey, &Operators, &Problems),
    tags(
        (name = "verify", description = "Ask, on the listener for services"),
        (name = "operate", description = "Look and act, on the listener for operators. Nothing here calls a provider"),
    )
)]
struct Document;

struct ClientKey;

impl Modify for ClientKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A client's key")).build();
        if let Some(components) = document.components.as_mut() {
            components.add_security_scheme("client_key", SecurityScheme::Http(scheme));
        }
    }
}

struct Operators;

impl Modify for Operators {
    /// Operations with the tag `operate` are on the admin listener, which has its own address.
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let server = ServerBuilder::new()
            .url("http://127.0.0.1:9464")
            .description(Some("Where operators look: `server.admin_listen`"))
            .build();
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An operator's key; not needed where no operator is configured, or with its certificate"))
            .build();
        if let Some(components) = document.components.as_mut() {
            components.add_security_scheme("operator_key", SecurityScheme::Http(scheme));
        }
        for (path, item) in &mut document.paths.paths {
            let operations = [&item.get, &item.post];
            let tags = operations.into_iter().flatten().filter_map(|operation| operation.tags.as_ref());
            if tags.flatten().any(|tag| tag == "operate") {
                item.servers = Some(vec![server.clone()]);
                let is_open = OPEN.contains(&path.as_str());
                let of_all = [Code::MalformedRequest, Code::HeadersTooLarge, Code::Internal];
                let of_closed: &[_] = if is_open { &[] } else { &[Code::Unauthenticated, Code::Forbidden] };
                let codes = [&of_all[..], of_closed, problems_of(path)].concat();
                for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                    add_problems(operation, &codes, Kind::ForEverybody);
                    if !is_open {
                        operation.security = Some(vec![SecurityRequirement::new("operator_key", Vec::<String>::new())]);
                    }
                }
            }
        }
    }
}

/// The problems of some of the operations for operators.
fn problems_of(path: &str) -> &'static [Code] {
    match path {
        "/v1/providers/{provider}/isolate" | "/v1/providers/{provider}/restore" => &admin::providers::PROBLEMS,
        "/v1/reload" => &admin::reload::PROBLEMS,
        "/v1/log-level" => &admin::log_level::PROBLEMS,
        "/v1/changes" => &admin::changes::PROBLEMS,
        "/v1/subjects/forget" => &forget::PROBLEMS,
        _ => &[],
    }
}

/// The document as YAML.
///
/// # Errors
/// If it cannot be serialized, which is a bug.
pub fn yaml() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Document::openapi().to_yaml()?.lines().map(|line| quoted(line) + "\n").collect())
}

/// Quotes values that parsers of YAML 1.1 misread: `yes` and `no` as booleans, `1949-12-31` as a date.
fn quoted(line: &str) -> String {
    let item = line.trim_start_matches([' ', '-']);
    let value = item.split_once(": ").map_or(item, |(_, value)| value);
    let is_mistaken = matches!(value, "yes" | "no" | "on" | "off")
        || value.parse::<jiff::civil::Date>().is_ok()
        || value.parse::<jiff::Timestamp>().is_ok();
    match line.strip_suffix(value) {
        Some(key) if is_mistaken => format!("{key}'{value}'"),
        _ => line.to_owned(),
    }
}

/// The listener whose documentation is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Public,
    Admin,
}

/// Swagger UI at `/docs/`, served from memory, and the document at `/openapi.json`. What this listener serves can be
/// tried: its address in the document is that of the page.
pub(super) fn page(side: Side) -> Router {
    let config = Config::new([DOCUMENT]).validator_url("none");
    let documentation: Router = SwaggerUi::new("/docs").config(config).into();
    // Made when somebody asks for it, which is seldom: to make it takes megabytes, which an idle process would keep.
    let made = Arc::new(OnceLock::<Bytes>::new());
    let document = move || {
        let document = made.get_or_init(|| serde_json::to_vec(&document_of(side)).unwrap_or_default().into()).clone();
        async move { ([(CONTENT_TYPE, "application/json")], document) }
    };
    documentation
        .route(DOCUMENT, get(document))
        .layer(map_response(async |response| page_headers::add_to_documentation(response)))
}

fn document_of(side: Side) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let here = ServerBuilder::new().url("/").description(Some("This listener")).build();
    let is_of_operators = |item: &PathItem| item.servers.is_some();
    match side {
        Side::Public => {
            document.servers = Some(vec![here]);
            document.paths.paths.retain(|_, item| !is_of_operators(item));
        }
        Side::Admin => {
            for (path, item) in &mut document.paths.paths {
                if is_of_operators(item) || path.starts_with(ROUTE_ALL) {
                    item.servers = Some(vec![here.clone()]);
                }
            }
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_old_readers_of_yaml_mistake_are_quoted() {
        assert_eq!(quoted("      - yes"), "      - 'yes'");
        assert_eq!(quoted("  example: no"), "  example: 'no'");
        assert_eq!(quoted("  - billed: yes"), "  - billed: 'yes'");
        assert_eq!(quoted("  at: 2026-11-22T08:00:00.123Z"), "  at: '2026-11-22T08:00:00.123Z'");
        assert_eq!(quoted("  example: 1949-12-31"), "  example: '1949-12-31'");
        assert_eq!(quoted("  description: yes, and no"), "  description: yes, and no");
        assert_eq!(quoted("  - name: Prefer"), "  - name: Prefer");
    }
}
