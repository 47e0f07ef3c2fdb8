//! 拇指云, `GET /idcard` on the cloud market: checks whether a name and an ID number belong together.
//!
//! Invariants: a result needs HTTP 200 and `ok: 1`. A match needs `match: true` and no contradiction in the response.
//! Mismatch and no record are distinguished by their documented texts; an unknown text is neither. HTTP 666 is an error
//! and never billed. Name and number are in the URL, which must not be logged.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};

use super::alibaba::market::{self, Route, echo};
use super::alibaba::x_ca::Algorithm;
use super::alibaba::{market_error, seal};
use super::codec::form;
use super::dialect::Dialect;
use super::{
    Asked, Credential, CredentialStore, Driver, EncodeError, Endpoint, Pair, PersonDetails, Protocol, Refusal, ReplyTo,
    Service, Stamp,
};
use crate::domain::id_number::Kind;
use crate::domain::money::{Billed, MicroYuan, Prices};
use crate::domain::outcome::{Fault, Reason};
use crate::domain::verdict::{Finding, Verdict};

mod codes;
mod wire;

/// The package of 2,500 calls for 100 yuan: 4 fen each. Every HTTP 2xx is billed, including `no_record`.
const PRICE: MicroYuan = MicroYuan(40_000);

pub static DRIVER: Driver = Driver {
    name: "muzhiyun",
    title: "拇指云 身份证二要素 (cloud market)",
    schemes: market::SCHEMES,
    variables: &[],
    options: &["signature_method"],
    samples: &[
        &[("app_code", "sandbox0muzhiyun0appcode00000001")],
        market::APP_KEY_SAMPLE,
        market::OLD_ALGORITHM_SAMPLE,
    ],
    kinds: &[Kind::Resident, Kind::Resident15, Kind::HmtResidence, Kind::ForeignerPr],
    name_limit: codes::NAME_LIMIT,
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
    configure: |settings| market::configure(settings, |algorithm| Arc::new(Muzhiyun { algorithm })),
};

const ROUTE: Route = Route { method: Method::GET, path: "/idcard" };

#[derive(Debug)]
struct Muzhiyun {
    algorithm: Algorithm,
}

impl Protocol for Muzhiyun {
    fn encode_request(
        &self,
        pair: Pair<'_>,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError> {
        let query = form::encode_pairs([("xm", pair.name), ("sfz", pair.id_number)]);
        let uri = endpoint.uri(&format!("{}?{query}", ROUTE.path))?;
        let request = Request::builder().method(ROUTE.method).uri(uri).body(Bytes::new())?;
        market::seal(request, self.algorithm, credential, stamp)
    }

    fn decode_response(&self, pair: Pair<'_>, response: &Response<Bytes>) -> Result<Finding, Fault> {
        market::decode(response, |status, body| match status.as_u16() {
            200 => {
                let reply = wire::Reply::parse(body)?;
                let verdict = verdict(&reply)?;
                if is_about(&reply, pair) { Ok(verdict) } else { Err(Fault::unreadable(Reason::WrongEcho)) }
            }
            codes::FAILED => {
                let fault = wire::Reply::parse(body).map_or_else(|fault| fault, |reply| failure(&reply));
                Err(Fault { billed: Billed::No, ..fault })
            }
            _ => Err(market_error::by_status(status)),
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
        let asked = market::asked(request.uri().query().unwrap_or_default().as_bytes(), "xm", "sfz");
        let served = market::open(request, &ROUTE, keys, stamp.now).and_then(|()| codes::objection(&asked, stamp.now));
        let reply_to = market::reply_to(request, asked.clone(), stamp);
        (served.map(|()| asked).map_err(Refusal::from), reply_to)
    }

    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes> {
        match answer {
            Ok(verdict) => {
                let reply = wire::Reply::result(verdict, reply_to.asked.as_ref(), &market::person(reply_to));
                market::document(200, &reply, reply_to)
            }
            Err(refusal) => market_error::encode(&refusal, reply_to).unwrap_or_else(|| {
                market::document(refusal.code.status, &wire::Reply::failure(refusal.code.message), reply_to)
            }),
        }
    }

    fn encode_wrong_echo(&self, verdict: Verdict, reply_to: &ReplyTo, other: &Asked) -> Option<Response<Bytes>> {
        let person = PersonDetails::of_number(other.id_number.expose());
        Some(market::document(200, &wire::Reply::result(verdict, Some(other), &person), reply_to))
    }
}

/// Interprets a reply under HTTP 200 by `ok`, `match` and `msg` together.
fn verdict(reply: &wire::Reply) -> Result<Verdict, Fault> {
    match (reply.ok, reply.matched, codes::result(&reply.msg)) {
        (1, Some(true), Some(Verdict::Match)) => Ok(Verdict::Match),
        // `match` is the documented field; an unknown text is accepted unless it reports an error.
        (1, Some(true), None) if !codes::speaks_of_failure(&reply.msg) => Ok(Verdict::Match),
        (1, None | Some(false), Some(verdict @ (Verdict::Mismatch | Verdict::NoRecord))) => Ok(verdict),
        (1, None | Some(false), None) => Err(Fault::unreadable(Reason::UnknownCode)),
        _ => Err(Fault::unreadable(Reason::Contradiction)),
    }
}

/// Interprets a reply under HTTP 666, where the document describes `ok` as "0 or anything but 1".
fn failure(reply: &wire::Reply) -> Fault {
    if reply.ok == 1 || reply.matched == Some(true) {
        return Fault::unreadable(Reason::Contradiction);
    }
    codes::failure(&reply.msg).map_or(Fault::unreadable(Reason::UnknownCode), super::Code::fault)
}

/// Whether the name and number in the reply match `pair`. The document shows them masked and does not guarantee them,
/// so a missing echo is accepted.
fn is_about(reply: &wire::Reply, pair: Pair<'_>) -> bool {
    let name = reply.xm.as_ref().is_none_or(|xm| echo::is_mask_of(xm.expose(), pair.name));
    let number = |sfz: &str| echo::is_mask_of(&sfz.to_ascii_uppercase(), pair.id_number);
    name && reply.sfz.as_ref().is_none_or(|sfz| number(sfz.expose()))
}
