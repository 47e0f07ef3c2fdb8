//! The request headers of `POST /v1/verify`, described for `openapi.yaml`. `http::headers` reads them.

use utoipa::IntoParams;

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
    /// anything else, and what may be an ID number or the person's name, is replaced by an id of ours.
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
