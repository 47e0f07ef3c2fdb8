//! The API as a document: `openapi.yaml` is written from here by `idgate openapi` and compared by a test.

use axum::Router;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::api;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "idgate",
        description = "Do this name and this Chinese ID number belong together? One question, one clear answer, whichever provider gave it.",
    ),
    paths(api::verify::verify),
    components(schemas(api::problem::Problem)),
    modifiers(&ClientKey),
    tags((name = "verify", description = "Ask"))
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

/// The document as YAML.
///
/// # Errors
/// When it cannot be written as YAML, which is a defect of ours.
pub fn yaml() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Document::openapi().to_yaml()?)
}

/// The page for people, from memory: `/docs/`, and the document at `/openapi.json`.
pub(super) fn page() -> Router {
    let config = Config::new(["/openapi.json"]).validator_url("none");
    SwaggerUi::new("/docs").url("/openapi.json", Document::openapi()).config(config).into()
}
