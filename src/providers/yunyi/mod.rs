//! 云亿互通, `POST /idenAuthentication` on the cloud market: checks whether a name and an ID number belong together.
//!
//! Invariants: a verdict needs HTTP 200, a documented `respCode`, no message of another code, and an echo of the same
//! person. The reply repeats name and number in full, even for a mismatch; they are compared and not kept.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::alibaba::market::{self, Route};
use super::alibaba::x_ca::Algorithm;
use super::alibaba::{market_error, seal};
use super::codec::form;
use super::dialect::Dialect;
use super::{
    Asked, Credential, CredentialStore, Driver, EncodeError, Endpoint, Pair, PersonDetails, Protocol, Refusal, ReplyTo,
    Service, Stamp,
};
use crate::domain::id_number::Kind;
use crate::domain::money::{MicroYuan, Prices};
use crate::domain::outcome::{Fault, Reason};
use crate::domain::personal::Personal;
use crate::domain::verdict::{Finding, Verdict};

mod codes;
mod wire;

/// The package of 1,000 calls for 30 yuan: 3 fen each. Every HTTP 2xx is billed, including `no_record`.
const PRICE: MicroYuan = MicroYuan(30_000);

pub static DRIVER: Driver = Driver {
    name: "yunyi",
    title: "云亿互通 身份证实名认证 (cloud market)",
    schemes: market::SCHEMES,
    variables: &[],
    options: &["signature_method"],
    samples: &[
        &[("app_code", "sandbox0yunyi0appcode00000000001")],
        market::APP_KEY_SAMPLE,
        market::OLD_ALGORITHM_SAMPLE,
    ],
    kinds: &[Kind::Resident, Kind::Resident15, Kind::HmtResidence, Kind::ForeignerPr],
    // Not documented; 50 is the minimum that the notice of 2016 requires of every name field.
    name_limit: 50,
    prices: Prices { on_match: PRICE, on_mismatch: PRICE, on_no_record: PRICE },
    codes: &[codes::FAILURES, market_error::CODES, market_error::TEXTS],
    dialect: Some(Dialect {
        path: ROUTE.path,
        addressed: |request| market::addressed(&ROUTE, request),
        tells_person: true,
        word: codes::word,
        clock_window: seal::WINDOW,
        media_types: &[],
        service: &Server,
    }),
    places: &[],
    configure: |settings| market::configure(settings, |algorithm| Arc::new(Yunyi { algorithm })),
};

const ROUTE: Route = Route { method: Method::POST, path: "/idenAuthentication" };

/// Signed as written, including the charset.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded; charset=UTF-8");

#[derive(Debug)]
struct Yunyi {
    algorithm: Algorithm,
}

impl Protocol for Yunyi {
    fn encode_request(
        &self,
        pair: Pair<'_>,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError> {
        let body = form::encode_pairs([("idNo", pair.id_number), ("name", pair.name)]);
        let request = Request::builder().method(ROUTE.method).uri(endpoint.uri(ROUTE.path)?);
        let request = request.header(CONTENT_TYPE, FORM).body(Bytes::from(body))?;
        market::seal(request, self.algorithm, credential, stamp)
    }

    fn decode_response(&self, pair: Pair<'_>, response: &Response<Bytes>) -> Result<Finding, Fault> {
        market::decode(response, |status, body| {
            let reply = wire::Reply::parse(body);
            // No document says which status an error has, so its code is accepted under any.
            if let Some(row) = reply.as_ref().ok().and_then(|reply| codes::failure(&reply.resp_code)) {
                return Err(row.fault());
            }
            if status != StatusCode::OK {
                return Err(market_error::by_status(status));
            }
            let reply = reply?;
            let verdict = codes::verdict(&reply.resp_code, reply.resp_message.as_deref())?;
            echoes(&reply, pair, verdict).map(|()| verdict)
        })
    }
}

#[derive(Debug)]
struct Server;

impl Service for Server {
    fn decode_request(
        &self,
        request: &Request<Bytes>,
        keys: &dyn CredentialStore,
        stamp: &Stamp,
    ) -> (Result<Asked, Refusal>, ReplyTo) {
        let asked = market::asked(request.body(), "name", "idNo");
        let served = market::open(request, &ROUTE, keys, stamp.now).and_then(|()| codes::objection(&asked, stamp.now));
        let reply_to = market::reply_to(request, asked.clone(), stamp);
        (served.map(|()| asked).map_err(Refusal::from), reply_to)
    }

    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes> {
        let asked = reply_to.asked.as_ref();
        match answer {
            Ok(verdict) => {
                market::document(200, &wire::Reply::result(verdict, asked, &market::person(reply_to)), reply_to)
            }
            Err(refusal) => market_error::encode(&refusal, reply_to).unwrap_or_else(|| {
                market::document(refusal.code.status, &wire::Reply::failure(refusal.code, asked), reply_to)
            }),
        }
    }

    fn encode_wrong_echo(&self, verdict: Verdict, reply_to: &ReplyTo, other: &Asked) -> Option<Response<Bytes>> {
        let person = PersonDetails::of_number(other.id_number.expose());
        Some(market::document(200, &wire::Reply::result(verdict, Some(other), &person), reply_to))
    }
}

/// Rejects a verdict about anyone but `pair`.
///
/// The document shows both echoes in full for match and mismatch, so a reply without them is malformed. For a number
/// that does not exist it shows none: the echo may be missing, but must not differ.
fn echoes(reply: &wire::Reply, pair: Pair<'_>, verdict: Verdict) -> Result<(), Fault> {
    let differs = |echo: &Option<Personal>, asked: &str| {
        echo.as_ref().is_some_and(|echo| !echo.expose().eq_ignore_ascii_case(asked))
    };
    if differs(&reply.id_no, pair.id_number) || reply.name.as_ref().is_some_and(|n| n.expose() != pair.name) {
        return Err(Fault::unreadable(Reason::WrongEcho));
    }
    if verdict != Verdict::NoRecord && (reply.name.is_none() || reply.id_no.is_none()) {
        return Err(Fault::unreadable(Reason::Garbage));
    }
    Ok(())
}
