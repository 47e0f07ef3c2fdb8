//! Server side of STS and the metadata service, for a sandbox.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;

use super::answer::{Envelope, Keys, StsReply};
use super::{metadata, sts};
use crate::providers::codec::json::{self, Lenient, Object};
use crate::providers::source::Granted;
use crate::providers::temporary::{Lender, Place};
use crate::providers::tencent::client::{X_TC_ACTION, X_TC_REGION, X_TC_TOKEN, X_TC_VERSION};
use crate::providers::tencent::scheme::SECRET_KEY;
use crate::providers::tencent::tc3::{self, Flaw, only};
use crate::providers::tencent::wire::Refused;
use crate::providers::tencent::{codes, reply};
use crate::providers::{Code, Presented, Stamp};

/// Lifetime of keys from the metadata service.
const LIFETIME: Duration = Duration::from_hours(1);
const ROLE: &str = "sandbox-role";

/// STS and the metadata service of an instance.
pub(in crate::providers::tencent) const PLACES: &[&Place] = &[&STS, &METADATA];

static STS: Place =
    place("tencent_sts", "{\"Response\":{\"Error\":{\"Code\":\"InternalError\"}}}", |request, lender, stamp| {
        let answer = lent(request, lender, stamp).unwrap_or_else(|code| {
            let message = Some(Lenient::Known(code.message.to_owned()));
            StsReply { error: Some(Object(Refused { code: code.code.to_owned(), message })), ..StsReply::default() }
        });
        reply::document(&Envelope { response: Object(StsReply { request_id: Some(stamp.nonce.clone()), ..answer }) })
    });

static METADATA: Place = place("tencent_metadata", "{\"Code\":\"Failed\"}", |request, lender, _| {
    match request.uri().path().strip_prefix(metadata::PATH).filter(|_| *request.method() == Method::GET) {
        Some("") => plain(ROLE),
        Some(ROLE) => {
            let keys = Keys { code: Some("Success".to_owned()), ..Keys::of(&lender.lend(LIFETIME)) };
            reply::document(&keys)
        }
        _ => {
            let mut response = plain("404 page not found");
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
});

const fn place(
    name: &'static str,
    says_no: &'static str,
    answer: fn(&Request<Bytes>, &dyn Lender, &Stamp) -> Response<Bytes>,
) -> Place {
    Place { name, path: "", scheme: &SECRET_KEY, id_prefix: "AKID", secret_member: "TmpSecretKey", says_no, answer }
}

/// The keys for a valid request.
fn lent(request: &Request<Bytes>, lender: &dyn Lender, stamp: &Stamp) -> Result<StsReply, &'static Code> {
    let headers = request.headers();
    let header = |name: &str| only(headers, name).ok_or(&codes::MISSING);
    if header(X_TC_VERSION.as_str())? != sts::VERSION {
        return Err(&codes::VERSION);
    }
    header(X_TC_REGION.as_str())?;
    let parameters: sts::Parameters = json::read(request.body()).ok_or(&codes::INVALID)?;
    match header(X_TC_ACTION.as_str())? {
        sts::ASSUME_ROLE => {
            let authorization = tc3::Authorization::read(headers).ok_or(&codes::INVALID_AUTHORIZATION)?;
            let presented = Presented::new(&SECRET_KEY, authorization.secret_id);
            let key = lender.keys().find(presented).ok_or(&codes::UNKNOWN_KEY)?;
            let shown = only(headers, X_TC_TOKEN.as_str());
            let is_right = match (key.token(), shown) {
                (None, None) => true,
                (Some(known), Some(shown)) => known.matches(shown.as_bytes()),
                _ => false,
            };
            if !is_right {
                return Err(&codes::TOKEN);
            }
            tc3::verify(request, authorization, key.secret(), stamp.now).map_err(|flaw| match flaw {
                Flaw::Form => &codes::INVALID_AUTHORIZATION,
                Flaw::Expired => &codes::EXPIRED,
                Flaw::Mismatch => &codes::SIGNATURE,
            })?;
        }
        sts::WITH_WEB_IDENTITY => {
            if headers.get(AUTHORIZATION) != Some(&sts::UNSIGNED) {
                return Err(&codes::INVALID_AUTHORIZATION);
            }
            if parameters.provider_id.is_none() || parameters.web_identity_token.is_none() {
                return Err(&codes::MISSING);
            }
        }
        _ => return Err(&codes::ACTION),
    }
    let granted: Granted = lender.lend(Duration::from_secs(parameters.duration_seconds));
    let keys = Keys { expired_time: None, ..Keys::of(&granted) };
    let expired_time = granted.ends.map(Timestamp::as_second);
    Ok(StsReply { credentials: Some(Object(keys)), expired_time, ..StsReply::default() })
}

fn plain(text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
