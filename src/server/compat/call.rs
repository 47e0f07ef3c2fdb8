//! One call in a provider's protocol: from its bytes to a question, from the result to bytes.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};

use super::caller_keys::CallerKeys;
use super::{Edge, words};
use crate::domain::subject::Subject;
use crate::domain::verdict::Verdict;
use crate::providers::dialect::{Cause, Dialect};
use crate::providers::{PersonDetails, Refusal, ReplyTo, Stamp, addressee};
use crate::server::api::Refused;
use crate::server::api::question::Wish;
use crate::server::api::reply::VerifyReply;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::code::Code;
use crate::server::http::headers;
use crate::server::http::problem::Problem;
use crate::server::http::request_scope::Trace;
use crate::server::snapshot::Snapshot;
use crate::verify::Question;

/// Where the answer is to be found again, for callers who look.
const VERIFICATION_ID: HeaderName = HeaderName::from_static("x-idgate-verification-id");

/// What is known of a call while it is under way.
#[derive(Debug)]
pub(super) struct Call {
    /// The driver whose protocol it is in.
    pub(super) protocol: &'static str,
    dialect: &'static Dialect,
    /// What the answer is shaped by.
    reply_to: ReplyTo,
    /// What the protocol itself has against it.
    refusal: Option<Refusal>,
}

impl Edge {
    /// Reads all of a request, without a place of those who ask: what is signed is the whole, so that nobody is known
    /// before, and who sends slowly must not stand in the way of those who are.
    pub(super) async fn receive(&self, now: &Snapshot, head: &mut Request<Bytes>, body: Body) -> Result<(), Refused> {
        if headers::size(head.method(), head.uri(), head.headers()) > self.api.max_header_bytes {
            return Err(Box::new(Problem::new(Code::HeadersTooLarge)));
        }
        let _place = self.bodies.try_acquire().map_err(|_| Edge::overloaded())?;
        *head.body_mut() = self.api.read(body, now.limits).await?;
        Ok(())
    }

    /// The way of a call that was received to its reply.
    pub(super) async fn serve(
        &self,
        now: &Snapshot,
        call: &mut Call,
        request: Request<Bytes>,
        trace: &mut Trace,
    ) -> Result<Arc<VerifyReply>, Refused> {
        // The request's buffers are gone before the wait for a provider begins, because thousands may wait.
        let question = self.question(now, call, request, trace)?;
        self.api.ask(now, question, false, trace).await
    }

    fn question(
        &self,
        now: &Snapshot,
        call: &mut Call,
        mut request: Request<Bytes>,
        trace: &mut Trace,
    ) -> Result<Question, Refused> {
        // HTTP/2 has the host elsewhere, and the signature wants it here.
        let authority = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        if let Some(host) = authority.filter(|_| !request.headers().contains_key(header::HOST)) {
            request.headers_mut().insert(header::HOST, host);
        }
        // The body may say more than the head did.
        if let Some((driver, dialect)) = addressee(&request).and_then(|driver| Some((driver, driver.dialect.as_ref()?)))
        {
            (call.protocol, call.dialect) = (driver.name, dialect);
        }
        let stamp = Stamp { now: self.api.clock.now(), nonce: String::new() };
        let (proven, decoded) = {
            let keys = CallerKeys::new(now.clients.issued(), &self.nonces, now.compat, stamp.now);
            let (decoded, reply_to) = call.dialect.service.decode_request(&request, &keys, &stamp);
            call.reply_to = reply_to;
            (keys.proven(), decoded)
        };
        let Some(holder) = proven else {
            let refusal = decoded.err().unwrap_or_else(|| words::refusal(call.dialect, Code::Unauthenticated, None));
            return Err(call.refused(refusal));
        };
        let caller = now.clients.confirm(holder.caller(), request.extensions())?;
        let client = self.api.let_in(caller, trace)?;
        drop(request);
        // The protocol's objections to a person come after who asks is known. Ours are the ones that are written down, as
        // for every other question.
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
        let question = self.api.pose(now, &client, &body, Wish::default(), trace)?;
        if let Some(refusal) = call.refusal.take() {
            return Err(call.refused(refusal));
        }
        client.count_question(&self.api.clock)?;
        if call.dialect.tells_person {
            let may_know = client.rights.person(true).is_ok();
            let details = if may_know { self.person(now, &question.subject) } else { PersonDetails::default() };
            call.reply_to.person = Some(details);
        }
        Ok(question)
    }

    fn person(&self, now: &Snapshot, subject: &Subject) -> PersonDetails {
        let number = subject.number();
        PersonDetails {
            birth_date: number.birth_date(),
            sex: number.sex(),
            age: number.age_on(self.api.clock.today_in_china()),
            region: Some(now.regions.of(number)),
        }
    }
}

impl Call {
    /// A call of which the head is known.
    pub(super) fn to(protocol: &'static str, dialect: &'static Dialect, head: &Request<Bytes>) -> Self {
        let host = head.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(head.uri().authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned();
        let reply_to = ReplyTo { host, ..ReplyTo::default() };
        Self { protocol, dialect, reply_to, refusal: None }
    }

    /// The problem that stands for a refusal of the protocol's in our log; the answer is the refusal itself.
    fn refused(&mut self, refusal: Refusal) -> Refused {
        let problem = Problem::new(words::our_word(refusal.code));
        let problem = problem.with_error("", refusal.code.code, "is what the caller is told, in its protocol");
        self.refusal = Some(refusal);
        Box::new(problem)
    }

    /// The answer, in the words of the protocol.
    pub(super) fn write(&mut self, result: &Result<Arc<VerifyReply>, Refused>, request_id: &str) -> Response {
        let verdict =
            result.as_ref().map(|reply| Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == reply.verdict));
        let answer = match verdict {
            Ok(Some(verdict)) => Ok(verdict),
            Ok(None) => Err(words::refusal(self.dialect, Code::Internal, None)),
            Err(problem) => Err(self.refusal_of(problem)),
        };
        // What the caller keeps as the provider's reference finds the answer in our ledger, or the request in our log.
        let id = result.as_ref().ok().map(|reply| reply.verification_id.to_string());
        self.reply_to.request_id = id.as_deref().unwrap_or(request_id).to_ascii_uppercase();
        let mut response = self.dialect.service.encode_response(answer, &self.reply_to).map(Body::from);
        if let Some(id) = id.and_then(|id| HeaderValue::try_from(id).ok()) {
            response.headers_mut().insert(VERIFICATION_ID, id);
        }
        response
    }

    /// What the protocol itself has said, unless something else came first; else its word for `problem`.
    fn refusal_of(&self, problem: &Problem) -> Refusal {
        let code = problem.code();
        let is_about_the_request = matches!(
            code,
            Code::MalformedRequest
                | Code::Unauthenticated
                | Code::NotFound
                | Code::MethodNotAllowed
                | Code::InvalidName
                | Code::InvalidIdNumber
        );
        let own = self.refusal.clone().filter(|_| is_about_the_request);
        // "Busy" says that nothing was begun, and many clients ask again at once. Where a call may have been made, no protocol
        // may say so, whatever kept us from the answer.
        let is_under_way = problem.may_have_been_billed() && words::cause(code) == Cause::Busy;
        let code = if is_under_way { Code::OutcomeUnknown } else { code };
        own.unwrap_or_else(|| words::refusal(self.dialect, code, problem.retry_after()))
    }
}
