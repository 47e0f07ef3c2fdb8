//! Compares the published documents with the code: the API, the configuration and the metrics.

use std::path::Path;

mod configuration;
pub mod metrics;

/// Reads a file of the repository.
pub fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
        .unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_api_document_is_what_the_code_says() {
    let now = idgate::server::openapi::yaml().unwrap();
    let first = read("openapi.yaml").lines().zip(now.lines()).position(|(kept, new)| kept != new);
    assert!(
        read("openapi.yaml") == now,
        "openapi.yaml differs from the code, first at line {}; if the change is meant: cargo run -- openapi > openapi.yaml",
        first.map_or(0, |line| line + 1)
    );
}
