//! The error codes: each with its status, whether a retry can succeed, and its texts.
//!
//! A new code needs a variant, a row, and an entry in the table in `docs/api.md`, which a test compares.

use http::StatusCode;
use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};
use utoipa::ToSchema;

/// What went wrong, from a closed set: the word that programs branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the contract; `row` says what each means")]
pub enum Code {
    MalformedRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    IdempotencyInProgress,
    ReceiptUnavailable,
    PayloadTooLarge,
    UnsupportedMediaType,
    HeadersTooLarge,
    InvalidName,
    InvalidIdNumber,
    UnsupportedDocument,
    RejectedByProvider,
    IdempotencyKeyReused,
    InvalidConfiguration,
    RateLimited,
    SubjectThrottled,
    EnumerationSuspected,
    BudgetExhausted,
    Internal,
    ProviderFailure,
    NoProviderAvailable,
    LedgerUnavailable,
    Overloaded,
    ShuttingDown,
    OutcomeUnknown,
    NotCached,
}

pub(in crate::server) struct Row {
    pub(in crate::server) status: StatusCode,
    pub(in crate::server) retryable: bool,
    pub(in crate::server) title: &'static str,
    pub(in crate::server) detail: &'static str,
}

impl Code {
    /// All codes, ordered by status.
    pub const ALL: &'static [Code] = Self::VARIANTS;

    pub(in crate::server) const fn row(self) -> Row {
        use StatusCode as S;
        const fn row(status: S, retryable: bool, title: &'static str, detail: &'static str) -> Row {
            Row { status, retryable, title, detail }
        }
        match self {
            Code::MalformedRequest => row(
                S::BAD_REQUEST,
                false,
                "The request cannot be read",
                "Mend what `errors` names and send it again. Nothing was called, nothing was paid.",
            ),
            Code::Unauthenticated => row(
                S::UNAUTHORIZED,
                false,
                "No valid key or certificate",
                "Send `Authorization: Bearer <key>` with a key that is configured and has not expired; if `errors` speaks of \
                 a certificate, do what it says.",
            ),
            Code::Forbidden => row(
                S::FORBIDDEN,
                false,
                "Not allowed for this client",
                "`errors` names what this client may not do. Leave it out, or have the right added to its section.",
            ),
            Code::NotFound => row(
                S::NOT_FOUND,
                false,
                "No such resource",
                "`GET /` lists what this listener serves. Questions go to POST /v1/verify on `server.listen`; operators \
                 use `server.admin_listen`.",
            ),
            Code::MethodNotAllowed => row(
                S::METHOD_NOT_ALLOWED,
                false,
                "Method not allowed",
                "The `Allow` header says which methods this resource takes.",
            ),
            Code::NotAcceptable => row(
                S::NOT_ACCEPTABLE,
                false,
                "Only JSON can be answered",
                "Send `Accept: application/json`, or leave the header out.",
            ),
            Code::RequestTimeout => row(
                S::REQUEST_TIMEOUT,
                true,
                "The request did not arrive in time",
                "Send the whole body at once. Nothing was called, nothing was paid.",
            ),
            Code::IdempotencyInProgress => row(
                S::CONFLICT,
                true,
                "The first request with this key is still being worked on",
                "Wait, then send the same request with the same key again.",
            ),
            Code::ReceiptUnavailable => {
                row(S::CONFLICT, false, "There is no receipt of this answer", "`errors` says why, and what to do.")
            }
            Code::PayloadTooLarge => row(
                S::PAYLOAD_TOO_LARGE,
                false,
                "The body is too large",
                "A question needs a few hundred bytes; send only its members.",
            ),
            Code::UnsupportedMediaType => row(
                S::UNSUPPORTED_MEDIA_TYPE,
                false,
                "Only JSON can be read",
                "Send the body as JSON (UTF-8) with `Content-Type: application/json`.",
            ),
            Code::HeadersTooLarge => row(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                false,
                "A request header is too large",
                "Send fewer or shorter headers; `server.connections.max_header_bytes` is the limit.",
            ),
            Code::InvalidName => row(
                S::UNPROCESSABLE_ENTITY,
                false,
                "The name cannot be a name on an ID card",
                "Mend what `errors` names. Nothing was called, nothing was paid.",
            ),
            Code::InvalidIdNumber => row(
                S::UNPROCESSABLE_ENTITY,
                false,
                "The ID number cannot be one",
                "Mend what `errors` names. Nothing was called, nothing was paid.",
            ),
            Code::UnsupportedDocument => row(
                S::UNPROCESSABLE_ENTITY,
                false,
                "No provider takes this kind of document",
                "The number is valid, of a kind (or the name of a length) that no provider in the chain takes.",
            ),
            Code::RejectedByProvider => row(
                S::UNPROCESSABLE_ENTITY,
                false,
                "Every provider asked calls the input invalid",
                "Check name and number with the person; the providers' rules are narrower than ours.",
            ),
            Code::IdempotencyKeyReused => row(
                S::UNPROCESSABLE_ENTITY,
                false,
                "The idempotency key belongs to another request",
                "Use a new key for a new question; a key is kept for 24 hours.",
            ),
            Code::InvalidConfiguration => row(
                S::UNPROCESSABLE_ENTITY,
                false,
                "The configuration has mistakes",
                "Nothing was changed. Mend what `errors` names (`idgate check` says the same), then reload again.",
            ),
            Code::RateLimited => row(
                S::TOO_MANY_REQUESTS,
                true,
                "This client is over its rate",
                "Wait as long as `Retry-After` says. Nothing was called, nothing was paid.",
            ),
            Code::SubjectThrottled => row(
                S::TOO_MANY_REQUESTS,
                true,
                "Every provider refuses this person for now",
                "This person was asked about too often. Asking again makes it worse; wait as long as `Retry-After` says.",
            ),
            Code::EnumerationSuspected => row(
                S::TOO_MANY_REQUESTS,
                true,
                "This looks like trying out names or numbers",
                "`errors` names the limit. Nothing was called, nothing was paid, and nothing is said about the person; wait \
                 as long as `Retry-After` says. What was asked before may be asked again.",
            ),
            Code::BudgetExhausted => row(
                S::TOO_MANY_REQUESTS,
                true,
                "This client has spent its budget",
                "No call is made for it until the day or month in China is over, as `Retry-After` says; what is remembered is \
                 still answered. Have its `budget` raised if it has to go on.",
            ),
            Code::Internal => {
                row(S::INTERNAL_SERVER_ERROR, true, "A defect of the gateway", "Report it with the request id.")
            }
            Code::ProviderFailure => row(
                S::BAD_GATEWAY,
                true,
                "No provider that was asked gave a verdict",
                "Nothing is pending. Ask again when `Retry-After` says, or later; `attempts` says what each provider did. \
                 Where `may_have_been_billed` is true, the next call may be a second bill.",
            ),
            Code::NoProviderAvailable => row(
                S::SERVICE_UNAVAILABLE,
                true,
                "No provider can be asked now",
                "Nothing was paid. Ask again when `Retry-After` says; `attempts` says why each provider is out.",
            ),
            Code::LedgerUnavailable => row(
                S::SERVICE_UNAVAILABLE,
                true,
                "The ledger cannot be written or read",
                "What costs money is not asked, and not told, while it cannot be written down. Ask again when \
                 `Retry-After` says; what was paid for is then answered from memory.",
            ),
            Code::Overloaded => row(
                S::SERVICE_UNAVAILABLE,
                true,
                "Too many requests at once",
                "Ask again shortly. Nothing was called, nothing was paid.",
            ),
            Code::ShuttingDown => row(
                S::SERVICE_UNAVAILABLE,
                true,
                "This instance is going down",
                "Ask again; another instance will answer.",
            ),
            Code::OutcomeUnknown => row(
                S::GATEWAY_TIMEOUT,
                true,
                "A call was sent and has not answered in time",
                "Ask the same question again when `Retry-After` says. It joins the call, or finds its answer. If there is \
                 none, it gets this problem again, without a new call, until the operator's `unknown_ttl` is over; after \
                 that, and with `Cache-Control: no-cache` at once, a provider is called anew, which may be a second bill.",
            ),
            Code::NotCached => {
                row(S::GATEWAY_TIMEOUT, true, "Nothing is remembered", "Ask without `Cache-Control: only-if-cached`.")
            }
        }
    }

    /// Whether this problem applies to every request with the same question at that moment, however long its caller is
    /// willing to wait.
    pub const fn is_everybodys(self) -> bool {
        matches!(
            self,
            Code::ProviderFailure
                | Code::NoProviderAvailable
                | Code::LedgerUnavailable
                // Specific to one client, like all requests that wait for the same idempotency key.
                | Code::BudgetExhausted
                | Code::SubjectThrottled
                | Code::RejectedByProvider
                | Code::UnsupportedDocument
        )
    }

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub const fn title(self) -> &'static str {
        self.row().title
    }

    pub const fn status(self) -> StatusCode {
        self.row().status
    }
}
