//! Signing in with an operator's key or certificate, or with one click where no operator is configured; signing out.
//!
//! Before there is a session, the form carries the digest of a cookie of its own, so that no other page can sign a
//! browser in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::html;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::form::Form;
use super::frame::{TOKEN, bare};
use super::state::Console;
use super::visitor::Visitor;
use crate::server::audit;
use crate::server::auth::key_config::KeyHash;
use crate::server::auth::operators::{Operator, Operators};
use crate::server::auth::sessions::{COOKIE, Proof, cookie};
use crate::server::listener::tls::PeerCertificate;
use crate::storage::ledger::Operation;

/// The cookie of a form to sign in.
const FORM_COOKIE: &str = "idgate_sign_in";

/// `/console`: where the pages begin.
pub(super) async fn start() -> Redirect {
    Redirect::to("/console/")
}

/// The page to sign in.
pub(super) async fn page(State(console): State<Arc<Console>>, request: Request) -> Response {
    if request.extensions().get::<Arc<Operator>>().is_some() {
        return Redirect::to("/console/").into_response();
    }
    let has_certificate = request.extensions().get::<PeerCertificate>().is_some();
    form(&console, has_certificate, StatusCode::OK, None)
}

fn form(console: &Console, has_certificate: bool, status: StatusCode, why_not: Option<&str>) -> Response {
    let is_local = console.pipeline.current.load().operators.local().is_some();
    let word = console.sessions.word();
    let content = html! {
        @if let Some(why_not) = why_not { p.notice.bad role="alert" { (why_not) } }
        form method="post" action="/console/sign-in" {
            input type="hidden" name=(TOKEN) value=(token_of(&word));
            @if is_local {
                p { "No operator is configured, so everybody who reaches this address may sign in." }
                button.main type="submit" { "Sign in" }
            } @else {
                label for="key" { "Operator’s key" }
                input #key type="password" name="key" autocomplete="current-password" spellcheck="false"
                    required[!has_certificate] autofocus;
                @if has_certificate { p.quiet { "Your browser has shown a certificate: leave the key empty to use it." } }
                button.main type="submit" { "Sign in" }
            }
        }
    };
    let mut response = bare(status, "Sign in", &content);
    set_cookie(console, &mut response, FORM_COOKIE, &word, 3600);
    response
}

/// Signs in.
pub(super) async fn sign_in(State(console): State<Arc<Console>>, request: Request) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let has_certificate = request.extensions().get::<PeerCertificate>().is_some();
    let refuse = |status, why_not: &str| form(&console, has_certificate, status, Some(why_not));
    if let Err(wait) = console.sessions.may_try(address) {
        let text = "Too many sign-ins from your address have failed. Wait a few seconds, then try again.";
        let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, text);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        return response;
    }
    let (headers, extensions) = (request.headers().clone(), request.extensions().clone());
    let form = match Form::read(request).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    if !is_ours(&headers, form.text(TOKEN).unwrap_or_default()) {
        return refuse(StatusCode::FORBIDDEN, "The form was too old, or cookies are off. Try again.");
    }
    let now = console.pipeline.current.load();
    let Some((operator, proof)) = identify(&now.operators, form.text("key"), &extensions, &console) else {
        console.sessions.has_failed(address);
        tell_of_failure(address);
        return refuse(StatusCode::UNAUTHORIZED, "That is not the key of an operator, or it has expired.");
    };
    let Some(cookie) = console.sessions.begin(&operator, proof) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many people are signed in. Try again later.");
    };
    tracing::info!(operator = %operator.name, "signed in to the console");
    audit::note(&console.pipeline.ledger, &operator, "sign_in", "signed_in", Operation::default()).await;
    let mut response = Redirect::to("/console/").into_response();
    set_cookie(&console, &mut response, COOKIE, &cookie, console.sessions.lifetime().as_secs());
    set_cookie(&console, &mut response, FORM_COOKIE, "", 0);
    response
}

fn tell_of_failure(address: Option<IpAddr>) {
    tracing::warn!(address = address.map(tracing::field::display), "a sign-in to the console has failed");
}

fn identify(
    operators: &Operators,
    key: Option<&str>,
    extensions: &http::Extensions,
    console: &Console,
) -> Option<(Arc<Operator>, Proof)> {
    if let Some(local) = operators.local() {
        return Some((Arc::clone(local), Proof::Local));
    }
    match key {
        Some(key) => {
            let hash = KeyHash::of(key.as_bytes());
            Some((operators.with_key(&hash, console.pipeline.clock.now())?, Proof::Key(hash)))
        }
        None => Some((operators.with_certificate(extensions).ok()?, Proof::Certificate)),
    }
}

/// Ends the session.
pub(super) async fn sign_out(State(console): State<Arc<Console>>, visitor: Visitor, _form: Form) -> Response {
    console.sessions.end(&visitor.session);
    console.answered.end(&visitor.session);
    console.sought.end(&visitor.session);
    tracing::info!(operator = %visitor.operator.name, "signed out of the console");
    let (ledger, operator) = (&console.pipeline.ledger, &visitor.operator);
    audit::note(ledger, operator, "sign_out", "signed_out", Operation::default()).await;
    let mut response = Redirect::to("/console/sign-in").into_response();
    set_cookie(&console, &mut response, COOKIE, "", 0);
    response
}

fn token_of(word: &str) -> String {
    hex::encode(Sha256::new_with_prefix("sign-in/").chain_update(word).finalize())
}

fn is_ours(headers: &HeaderMap, sent: &str) -> bool {
    cookie(headers, FORM_COOKIE).is_some_and(|word| token_of(word).as_bytes().ct_eq(sent.as_bytes()).into())
}

fn set_cookie(console: &Console, response: &mut Response, name: &str, value: &str, seconds: u64) {
    let secure = if console.has_tls { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/console; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
