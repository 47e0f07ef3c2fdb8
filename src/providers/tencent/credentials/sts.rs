//! STS issues temporary role keys. `AssumeRole` is signed (TC3) with other keys; `AssumeRoleWithWebIdentity` is not
//! signed because the token is the proof.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};

use super::answer;
use crate::domain::personal::Secret;
use crate::providers::codec::{json, text};
use crate::providers::source::{Ask, MissReason, Step};
use crate::providers::tencent::client::{X_TC_TOKEN, call};
use crate::providers::tencent::scheme::SECRET_KEY;
use crate::providers::tencent::tc3;
use crate::providers::{Credential, EncodeError, Endpoint, Stamp};

pub(super) const VERSION: &str = "2018-08-13";
/// The service in the credential scope of a signature.
pub(super) const SERVICE: &str = "sts";
/// The action that needs keys.
pub(super) const ASSUME_ROLE: &str = "AssumeRole";
/// The action that needs an OIDC token.
pub(super) const WITH_WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";
/// Sent in place of a signature.
pub(super) const UNSIGNED: HeaderValue = HeaderValue::from_static("SKIP");
const LIMIT: Duration = Duration::from_secs(15);

/// A role to assume.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) arn: String,
    /// The session name, shown in the cloud's audit log.
    pub(super) session: String,
    /// The lifetime of its keys.
    pub(super) duration: Duration,
    pub(super) region: String,
    pub(super) endpoint: Endpoint,
}

/// The parameters, read and written. They never contain personal data.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) provider_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) web_identity_token: Option<String>,
    pub(super) role_arn: String,
    pub(super) role_session_name: String,
    pub(super) duration_seconds: u64,
}

/// Requests the keys of `role` with the `base` key.
pub(super) fn assume_role(source: &'static str, role: Role, base: Credential) -> Step {
    let compose = move |stamp: &Stamp| signed(&role, &base, stamp);
    Step::ask(source, ask(compose), move |body, now| answer::read_sts(source, body, now))
}

/// Reads the token and requests the keys of `role` with it. Kubernetes rotates the file, so it is read for each
/// request.
pub(super) fn with_web_identity(source: &'static str, role: Role, provider: String, token: PathBuf) -> Step {
    Step::read(source, token, move |content| {
        let token = text::utf8(&content).map(str::trim).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Step::failed(source, MissReason::FileForm);
        }
        let token = Secret::new(token);
        let compose = move |stamp: &Stamp| with_token(&role, provider, &token, stamp);
        Step::ask(source, ask(compose), move |body, now| answer::read_sts(source, body, now))
    })
}

fn ask(compose: impl FnOnce(&Stamp) -> Result<Request<Bytes>, EncodeError> + Send + 'static) -> Ask {
    Ask { compose: Box::new(compose), limit: LIMIT, is_local: false, explain: |_| None }
}

fn signed(role: &Role, base: &Credential, stamp: &Stamp) -> Result<Request<Bytes>, EncodeError> {
    let key = base.of(&SECRET_KEY).ok_or(EncodeError::ForeignCredential)?;
    let mut request = role.request(ASSUME_ROLE, None, None, stamp)?;
    if let Some(token) = key.token() {
        request.headers_mut().insert(X_TC_TOKEN, sensitive(token.expose())?);
    }
    tc3::sign(&mut request, key.id(), key.secret(), SERVICE, stamp.now)?;
    Ok(request)
}

fn with_token(role: &Role, provider: String, token: &Secret, stamp: &Stamp) -> Result<Request<Bytes>, EncodeError> {
    let token = token.expose().to_owned();
    let mut request = role.request(WITH_WEB_IDENTITY, Some(provider), Some(token), stamp)?;
    request.headers_mut().insert(AUTHORIZATION, UNSIGNED);
    Ok(request)
}

impl Role {
    fn request(
        &self,
        action: &'static str,
        provider_id: Option<String>,
        web_identity_token: Option<String>,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError> {
        let parameters = Parameters {
            provider_id,
            web_identity_token,
            role_arn: self.arn.clone(),
            role_session_name: self.session.clone(),
            duration_seconds: self.duration.as_secs(),
        };
        call(&self.endpoint, (action, VERSION), stamp, Some(&self.region), json::write(&parameters))
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, EncodeError> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}
