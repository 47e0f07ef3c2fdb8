//! Turns a request in a provider's protocol into a question, and the result into a response.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};

use super::call::Call;
use super::caller_keys::CallerKeys;
use super::edge::Edge;
use super::named_key::named_key;
use super::words;
use crate::domain::subject::Subject;
use crate::providers::dialect::Dialect;
use crate::providers::{PersonDetails, Refusal, Stamp, addressee};
use crate::server::http::body;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::body_room::{BodyRoom, Owner};
use crate::server::http::code::Code;
use crate::server::http::headers;
use crate::server::http::problem::{Problem, Refused};
use crate::server::http::request_scope::{RequestScope, caught};
use crate::server::http::unambiguous;
use crate::server::index;
use crate::server::listener::network;
use crate::server::pipeline::{self, RequestOptions, build_question};
use crate::server::snapshot::Snapshot;
use crate::verify::Question;

/// The fallback of the public listener: answers in the protocol that the request belongs to, with the index, or with
/// `not_found`.
pub(in crate::server) async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let now = edge.pipeline.current.load();
    let mut scope = RequestScope::unrouted(&edge.recorder, &request);
    let (parts, body) = request.into_parts();
    let mut head = Request::from_parts(parts, Bytes::new());
    let mut unread = Some(body);
    let mut found = now.compat.enabled.then(|| addressed(&head)).flatten();
    // A form at a path that is not ours may be signed in its body, and is then answered in its protocol.
    if now.compat.enabled
        && found.is_none()
        && headers::is_form(head.headers())
        && let Some(body) = unread.take()
    {
        if let Err(problem) = receive(&edge, &now, None, &mut head, body).await {
            return scope.respond(Err(problem));
        }
        found = addressed(&head);
    }
    let Some((driver, dialect)) = found else {
        let (parts, most) = (head.into_parts().0, edge.pipeline.max_header_bytes);
        let fits = pipeline::check_head(&parts.method, &parts.uri, &parts.headers, most);
        let index = || index::public(&parts.method, &parts.uri, &parts.headers);
        let index = || index().ok_or_else(|| Box::new(Problem::new(Code::NotFound)));
        return scope.respond(fits.and_then(|()| index()));
    };
    scope.is_in_protocol(driver, dialect.path);
    let mut call = Call::to(driver, dialect, &head);
    let result = caught(pin!(async {
        if let Some(body) = unread {
            receive(&edge, &now, Some(dialect), &mut head, body).await?;
        }
        // The request's buffers are freed before the wait for a provider begins, because thousands of calls may wait.
        let question = unseen_question(&edge, &now, &mut call, head, &mut scope).await?;
        pipeline::ask_and_write(&edge.pipeline, &now, &question, &mut scope).await
    }))
    .await;
    scope.is_in_protocol(call.protocol, dialect.path);
    scope.answer(&result, |request_id| call.write(&result, request_id))
}

/// The driver whose protocol a request is in, if that protocol has a server side.
fn addressed(request: &Request<Bytes>) -> Option<(&'static str, &'static Dialect)> {
    let driver = addressee(request)?;
    Some((driver.name, driver.dialect.as_ref()?))
}

/// Reads the whole request without taking one of the slots for questions. The signature covers the whole request, so
/// the caller is not known until it is read, and slow senders must not block others. A body that is not there yet waits
/// in a room: that of the key which the head names, or the smaller one for everybody else.
async fn receive(
    edge: &Edge,
    now: &Snapshot,
    dialect: Option<&Dialect>,
    head: &mut Request<Bytes>,
    body: Body,
) -> Result<(), Refused> {
    // A signature does not cover both of two values. The protocols have no code for that but the one for a bad
    // signature: "malformed" judges the person, of whom a stranger is told nothing.
    let unsigned = |problem: Refused| match dialect {
        Some(_) => Box::new(problem.with_code(Code::Unauthenticated)),
        None => problem,
    };
    unambiguous::check(head.uri(), head.headers()).map_err(unsigned)?;
    pipeline::check_head(head.method(), head.uri(), head.headers(), edge.pipeline.max_header_bytes)?;
    let mut reading = pin!(body::read(body, now.limits.max_body_bytes, now.limits.body_timeout));
    let read = tokio::select! {
        biased;
        read = reading.as_mut() => read,
        () = std::future::ready(()) => {
            let (room, owner, peer) = room(edge, now, dialect, head);
            let mut place = room.enter(owner, peer);
            tokio::select! {
                biased;
                read = reading => read,
                () = place.displaced() => Err(Box::new(Problem::new(Code::RequestTimeout))),
            }
        }
    };
    *head.body_mut() = read?;
    Ok(())
}

/// The room in which the body of `head` may wait, and on whose account.
fn room<'a>(
    edge: &'a Edge,
    now: &Snapshot,
    dialect: Option<&Dialect>,
    head: &Request<Bytes>,
) -> (&'a BodyRoom, Owner, SocketAddr) {
    let peer = head.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let peer = peer.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
    let stamp = Stamp { now: edge.pipeline.clock.wall(), nonce: String::new() };
    match dialect.and_then(|dialect| named_key(dialect, head, now.clients.issued(), now.compat, &stamp)) {
        Some(key) => (&edge.named, Owner::Key(key), peer),
        None => (&edge.unnamed, Owner::Address(network(peer.ip())), peer),
    }
}

/// The question, unless its nonce was used at another replica. Then it is read once more: our own store has the nonce by
/// now, and the protocol refuses it in its own words.
async fn unseen_question(
    edge: &Edge,
    now: &Snapshot,
    call: &mut Call,
    request: Request<Bytes>,
    scope: &mut RequestScope,
) -> Result<Question, Refused> {
    let shared = &edge.pipeline.shared;
    let again = shared.is_on().then(|| request.clone());
    let asked = question(edge, now, call, request, scope)?;
    if let (Some(again), Some((key, nonce, until))) = (again, call.nonce.take()) {
        let left = until.duration_since(edge.pipeline.clock.wall()).try_into().unwrap_or_default();
        // While Redis is away, what this replica has seen decides.
        if !shared.take_nonce(&key, &nonce, left, &asked.for_replicas).await.unwrap_or(true) {
            question(edge, now, call, again, scope)?;
            return Err(Box::new(Problem::new(Code::Unauthenticated)));
        }
    }
    Ok(asked)
}

fn question(
    edge: &Edge,
    now: &Snapshot,
    call: &mut Call,
    mut request: Request<Bytes>,
    scope: &mut RequestScope,
) -> Result<Question, Refused> {
    let clock = &edge.pipeline.clock;
    // HTTP/2 carries the host in the URI, but the signature covers the header.
    let authority = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = authority.filter(|_| !request.headers().contains_key(header::HOST)) {
        request.headers_mut().insert(header::HOST, host);
    }
    // The body may show that another protocol is meant than the head suggested.
    if let Some((driver, dialect)) = addressed(&request) {
        (call.protocol, call.dialect) = (driver, dialect);
    }
    let stamp = Stamp { now: clock.wall(), nonce: String::new() };
    let (proven, decoded, wait) = {
        let keys = CallerKeys::new(now.clients.issued(), &edge.nonces, now.compat, stamp.now, clock.moment())
            .sharing(edge.pipeline.shared.is_on());
        let (decoded, reply_to) = call.dialect.service.decode_request(&request, &keys, &stamp);
        call.reply_to = reply_to;
        call.nonce = keys.taken();
        (keys.proven(), decoded, keys.wait())
    };
    let Some(holder) = proven else {
        let refusal = decoded.err().unwrap_or_else(|| words::refusal(call.dialect, Code::Unauthenticated, None));
        return Err(call.refused(Refusal { retry_after: refusal.retry_after.or(wait), ..refusal }));
    };
    let caller = now.clients.confirm(holder.caller(), request.extensions())?;
    let client = pipeline::admit(scope, caller)?;
    if !request.body().is_empty() {
        headers::require_utf8(request.headers(), Code::MalformedRequest)?;
    }
    drop(request);
    // The protocol's objections to a person are returned only after the caller is authenticated. Our own objections go
    // into the ledger, as for every other question.
    let asked = match (decoded, call.reply_to.asked.clone()) {
        (Ok(asked), _) => asked,
        (Err(refusal), Some(asked)) => {
            call.refusal = Some(refusal);
            asked
        }
        (Err(refusal), None) => return Err(call.refused(refusal)),
    };
    let body = VerifyBody {
        name: asked.name,
        id_number: asked.id_number,
        purpose: holder.purpose.clone(),
        reference: None,
        include_person: None,
    };
    let question = build_question(&edge.pipeline, now, &client, &body, RequestOptions::default(), scope)?;
    if let Some(refusal) = call.refusal.take() {
        return Err(call.refused(refusal));
    }
    client.count_question(clock)?;
    if call.dialect.tells_person {
        let may_know = client.rights.person(true).is_ok();
        let details = if may_know { person(edge, now, &question.subject) } else { PersonDetails::default() };
        call.reply_to.person = Some(details);
    }
    Ok(question)
}

fn person(edge: &Edge, now: &Snapshot, subject: &Subject) -> PersonDetails {
    let number = subject.number();
    PersonDetails {
        birth_date: number.birth_date(),
        sex: number.sex(),
        age: number.age_on(edge.pipeline.clock.today_in_china()),
        region: Some(now.regions.of(number)),
    }
}
