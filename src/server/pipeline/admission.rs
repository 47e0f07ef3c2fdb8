//! The first step: who asks, within its rate and ours.

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use crate::server::auth::client::{Caller, Client};
use crate::server::http::code::Code;
use crate::server::http::headers;
use crate::server::http::problem::{Problem, Refused, SOON};
use crate::server::http::request_scope::RequestScope;
use crate::server::http::unambiguous;

/// Adds the caller to the request's scope, and counts the request against the client's rate.
///
/// # Errors
/// `rate_limited`, with the time to wait.
pub(in crate::server) fn admit(scope: &mut RequestScope, caller: Caller) -> Result<Arc<Client>, Refused> {
    let client = Arc::clone(&caller.client);
    match client.admit() {
        Ok(allowance) => {
            scope.is_admitted(caller, allowance);
            Ok(client)
        }
        Err((allowance, wait)) => {
            scope.is_admitted(caller, Some(allowance));
            Err(Box::new(Problem::new(Code::RateLimited).with_retry_after(wait)))
        }
    }
}

/// Refuses a head of more than `most` bytes, and one that can be understood in two ways.
///
/// # Errors
/// `headers_too_large`; `malformed_request`.
pub(in crate::server) fn check_head(method: &Method, uri: &Uri, head: &HeaderMap, most: usize) -> Result<(), Refused> {
    let is_too_large = headers::size(method, uri, head) > most;
    if is_too_large { Err(Box::new(Problem::new(Code::HeadersTooLarge))) } else { unambiguous::check(uri, head) }
}

/// The problem of a request for which there is no place.
pub(in crate::server) fn overloaded() -> Refused {
    Box::new(Problem::new(Code::Overloaded).with_retry_after(SOON))
}
