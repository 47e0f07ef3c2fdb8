//! Parses and authenticates a request as the gateway does: POST or GET, parameters in the query, the form body or both,
//! V1 or V3.
//!
//! The first failing check determines the error: method, path, action, version, public parameters, key, time stamp,
//! signature, token, nonce, business parameters. The credential store tracks nonces.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use http::{Method, Request};
use jiff::Timestamp;

use super::action::{Action, FORM, X_ACS_ACTION, X_ACS_SECURITY_TOKEN, X_ACS_VERSION, XML};
use crate::domain::personal::{Personal, Secret};
use crate::providers::alibaba::schemes::ACCESS_KEY;
use crate::providers::alibaba::seal::{self, Flaw};
use crate::providers::alibaba::{acs3, pop_error, rpc_v1};
use crate::providers::codec::form;
use crate::providers::dialect::Addressed;
use crate::providers::{Asked, Code, Credential, CredentialStore, Presented, Refusal, ReplyTo, Stamp, Taken};

/// The check that `request` asks of `action`, or the error; and the format of the response.
pub(super) fn decode(
    action: &Action,
    request: &Request<Bytes>,
    keys: &dyn CredentialStore,
    stamp: &Stamp,
) -> (Result<Asked, Refusal>, ReplyTo) {
    let call = Call::read(request);
    let asked = call.admitted(action, keys, stamp.now).map_err(Refusal::from);
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or(request.uri().authority().map(|authority| authority.as_str())).unwrap_or_default();
    // By the current documents XML is the default of V1 and JSON the only format of V3.
    let wants_xml =
        !call.is_v3 && call.parameters.get("Format").is_none_or(|format| format.eq_ignore_ascii_case("xml"));
    let reply_to = ReplyTo {
        request_id: stamp.nonce.to_ascii_uppercase(),
        host: host.to_owned(),
        media_type: wants_xml.then_some(XML),
        asked: call.parameters.asked(),
        person: None,
    };
    (asked, reply_to)
}

/// How likely `request` is a call of `action`, which a V3 header or a parameter names.
pub fn addressed(action: &Action, request: &Request<Bytes>) -> Addressed {
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let parameter = |name: &str| {
        let body: &[u8] = if is_form(headers) { request.body() } else { b"" };
        let value = |text| form_urlencoded::parse(text).find(|(known, _)| known == name).map(|(_, value)| value);
        value(query).or_else(|| value(body))
    };
    if request.uri().path() == "/" {
        let is_named = match headers.get(X_ACS_ACTION) {
            Some(named) => acs3::text(named) == Some(action.name),
            None => parameter("Action").is_some_and(|named| named == action.name),
        };
        return if is_named { Addressed::ByName } else { Addressed::ByPath };
    }
    let signs = headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"ACS"))
        || headers.contains_key(X_ACS_ACTION)
        || parameter(rpc_v1::SIGNATURE).is_some();
    if signs { Addressed::ByProof } else { Addressed::No }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| acs3::text(kind)?.get(..FORM.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(FORM))
}

/// All parameters, decoded, from the query and the body.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The first value of that name, unless it is empty.
    fn get(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == wanted)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn public(&self, name: &'static str) -> Result<&str, &'static Code> {
        self.get(name).ok_or_else(|| pop_error::missing(name))
    }

    /// Whether a name occurs twice, which makes its meaning ambiguous.
    fn repeats(&self) -> bool {
        let mut names: Vec<_> = self.0.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
    }

    fn asked(&self) -> Option<Asked> {
        let (name, id_number) = (self.get("UserName")?, self.get("IdentifyNum")?);
        Some(Asked { name: Personal::new(name), id_number: Personal::new(id_number) })
    }
}

/// A parsed request that is not authenticated yet.
struct Call<'a> {
    request: &'a Request<Bytes>,
    parameters: Parameters,
    is_v3: bool,
}

impl<'a> Call<'a> {
    fn read(request: &'a Request<Bytes>) -> Self {
        let mut parameters = form::decode_pairs(request.uri().query().unwrap_or_default().as_bytes());
        if is_form(request.headers()) {
            parameters.extend(form::decode_pairs(request.body()));
        }
        let authorization = request.headers().get(AUTHORIZATION);
        // Matches the whole family, so that an unsupported algorithm gets the error for one.
        let is_v3 = authorization.is_some_and(|value| value.as_bytes().starts_with(b"ACS"));
        Self { request, parameters: Parameters(parameters), is_v3 }
    }

    fn admitted(&self, action: &Action, keys: &dyn CredentialStore, now: Timestamp) -> Result<Asked, &'static Code> {
        if !matches!(*self.request.method(), Method::POST | Method::GET) {
            return Err(&pop_error::METHOD);
        }
        if self.request.uri().path() != "/" {
            return Err(&pop_error::ACTION);
        }
        let (name, version) = if self.is_v3 {
            (self.header(X_ACS_ACTION.as_str(), "Action")?, self.header(X_ACS_VERSION.as_str(), "Version")?)
        } else {
            (self.parameters.public("Action")?, self.parameters.public("Version")?)
        };
        if name != action.name {
            return Err(&pop_error::ACTION);
        }
        if version != action.version {
            return Err(&pop_error::VERSION);
        }
        if self.is_v3 {
            self.believed_v3(keys, now)?
        } else {
            self.believed_v1(keys, now)?
        };
        self.business(action)
    }

    fn believed_v1(&self, keys: &dyn CredentialStore, now: Timestamp) -> Result<(), &'static Code> {
        let parameters = &self.parameters;
        let id = parameters.public("AccessKeyId")?;
        for name in ["Timestamp", "SignatureNonce", rpc_v1::SIGNATURE] {
            parameters.public(name)?;
        }
        if parameters.public("SignatureMethod")? != "HMAC-SHA1" {
            return Err(&pop_error::SIGNATURE_METHOD);
        }
        if parameters.public("SignatureVersion")? != "1.0" {
            return Err(&pop_error::SIGNATURE_VERSION);
        }
        let key = key(keys, id)?;
        let pairs: Vec<_> = parameters.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        rpc_v1::verify(self.request.method().as_str(), &pairs, key.secret(), now).map_err(refusal)?;
        check_token(key.token(), parameters.get("SecurityToken"))?;
        let shown = (parameters.public("SignatureNonce")?, parameters.public("Timestamp")?);
        still_good(keys, id, key.token().is_some()).and_then(|()| first_time(keys, id, shown))
    }

    fn believed_v3(&self, keys: &dyn CredentialStore, now: Timestamp) -> Result<(), &'static Code> {
        let authorization = acs3::Authorization::read(self.request.headers()).map_err(refusal)?;
        let id = authorization.key_id;
        let key = key(keys, id)?;
        acs3::verify(self.request, authorization, key, now).map_err(refusal)?;
        check_token(key.token(), self.header(X_ACS_SECURITY_TOKEN.as_str(), "SecurityToken").ok())?;
        let nonce = self.header(acs3::NONCE.as_str(), "SignatureNonce")?;
        let shown = (nonce, self.header(acs3::DATE.as_str(), "Timestamp")?);
        still_good(keys, id, key.token().is_some()).and_then(|()| first_time(keys, id, shown))
    }

    fn business(&self, action: &Action) -> Result<Asked, &'static Code> {
        if self.parameters.repeats() {
            return Err(action.invalid);
        }
        for (name, value) in action.fixed {
            match self.parameters.get(name) {
                None => return Err(action.empty),
                Some(given) if given != *value => return Err(action.invalid),
                Some(_) => {}
            }
        }
        self.parameters.asked().ok_or(action.empty)
    }

    /// The header that carries the public parameter `name` in V3.
    fn header(&self, header: &str, name: &'static str) -> Result<&str, &'static Code> {
        let value = self.request.headers().get(header).and_then(acs3::text);
        value.filter(|value| !value.is_empty()).ok_or_else(|| pop_error::missing(name))
    }
}

pub(in crate::providers::alibaba) fn key<'k>(
    keys: &'k dyn CredentialStore,
    id: &str,
) -> Result<&'k Credential, &'static Code> {
    keys.find(Presented::new(&ACCESS_KEY, id)).ok_or(&pop_error::KEY_NOT_FOUND)
}

/// Whether the token is the key's.
pub(in crate::providers::alibaba) fn check_token(
    known: Option<&Secret>,
    presented: Option<&str>,
) -> Result<(), &'static Code> {
    match (known, presented) {
        (None, None) => Ok(()),
        (Some(known), Some(presented)) if known.matches(presented.as_bytes()) => Ok(()),
        (Some(_), None) => Err(&pop_error::TOKEN_MISSING),
        _ => Err(&pop_error::TOKEN_MISMATCH),
    }
}

/// Whether the key has not expired.
fn still_good(keys: &dyn CredentialStore, id: &str, is_temporary: bool) -> Result<(), &'static Code> {
    match keys.has_ended(Presented::new(&ACCESS_KEY, id)) {
        false => Ok(()),
        true if is_temporary => Err(&pop_error::TOKEN_ENDED),
        true => Err(&pop_error::KEY_INACTIVE),
    }
}

/// Whether this nonce is new for this key. It is kept as long as its time stamp is valid.
fn first_time(keys: &dyn CredentialStore, id: &str, (nonce, time): (&str, &str)) -> Result<(), &'static Code> {
    let until = seal::end_of(time).ok_or(&pop_error::TIME_FORMAT)?;
    match keys.take_nonce(Presented::new(&ACCESS_KEY, id), nonce, until) {
        Taken::New => Ok(()),
        Taken::Seen => Err(&pop_error::NONCE_USED),
        Taken::NoRoom => Err(&pop_error::THROTTLED),
    }
}

/// The error row for a signature flaw.
pub(in crate::providers::alibaba) fn refusal(flaw: Flaw) -> &'static Code {
    match flaw {
        Flaw::Incomplete => &pop_error::INCOMPLETE,
        Flaw::TimeFormat => &pop_error::TIME_FORMAT,
        Flaw::Expired => &pop_error::TIME_EXPIRED,
        Flaw::Mismatch => &pop_error::SIGNATURE,
    }
}
