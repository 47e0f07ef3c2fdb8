//! The profiles of the vendor's CLI, `~/.aliyun/config.json`.
//!
//! Non-interactive modes are resolved to their keys. Modes that need a browser login are rejected by name. The file is
//! read again for each fetch and never written.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::answer::key;
use super::imds::Metadata;
use super::services::{Services, seconds};
use super::sts::Role;
use super::{imds, sts};
use crate::providers::codec::json::{self, Object};
use crate::providers::source::{MissReason, Step};

pub(super) const NAME: &str = "cli_profile";

#[derive(Debug, Clone)]
pub struct CliProfile {
    pub file: PathBuf,
    /// The profile; the file's `current` if absent.
    pub profile: Option<String>,
    pub services: Services,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    current: Option<String>,
    #[serde(default)]
    profiles: Vec<Object<Profile>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profile {
    name: Option<String>,
    mode: Option<String>,
    access_key_id: Option<String>,
    access_key_secret: Option<Zeroizing<String>>,
    sts_token: Option<Zeroizing<String>>,
    ram_role_name: Option<String>,
    ram_role_arn: Option<String>,
    ram_session_name: Option<String>,
    role_session_name: Option<String>,
    expired_seconds: Option<u64>,
    policy: Option<String>,
    external_id: Option<String>,
    sts_region: Option<String>,
    enable_vpc: Option<bool>,
    oidc_provider_arn: Option<String>,
    oidc_token_file: Option<PathBuf>,
    source_profile: Option<String>,
}

/// Fetches the keys of the profile.
pub(super) fn begin(settings: CliProfile) -> Step {
    Step::read(NAME, settings.file.clone(), move |content| match json::read::<File>(&content) {
        None => Step::failed(NAME, MissReason::FileForm),
        Some(file) => {
            let name = settings.profile.clone().or_else(|| file.current.clone()).unwrap_or_default();
            let step = follow(&Arc::new(file), &settings.services, &name, Vec::new());
            step.unwrap_or_else(|reason| Step::failed(NAME, reason))
        }
    })
}

/// Resolves the profile `name`. `seen` holds the profiles already visited, to detect cycles.
fn follow(file: &Arc<File>, services: &Services, name: &str, mut seen: Vec<String>) -> Result<Step, MissReason> {
    if seen.iter().any(|before| before == name) {
        return Err(MissReason::Circle);
    }
    seen.push(name.to_owned());
    let profile = file.profiles.iter().map(|Object(profile)| profile);
    let profile = profile.clone().find(|profile| profile.name.as_deref() == Some(name)).ok_or(MissReason::NoProfile)?;
    match profile.mode.as_deref().unwrap_or_default() {
        "AK" => profile.keys(None).map(Step::Done),
        "StsToken" => {
            let token = text(&profile.sts_token).ok_or(MissReason::MissingField)?;
            profile.keys(Some(token)).map(Step::Done)
        }
        "RamRoleArn" => Ok(sts::assume_role(NAME, profile.role(services)?, profile.keys(text(&profile.sts_token))?)),
        "ChainableRamRoleArn" => {
            let source = profile.source_profile.as_deref().ok_or(MissReason::MissingField)?;
            let role = profile.role(services)?;
            Ok(follow(file, services, source, seen)?.and_then(move |base| sts::assume_role(NAME, role, base)))
        }
        "EcsRamRole" => {
            let role = profile.ram_role_name.clone().filter(|role| !role.is_empty());
            let metadata = Metadata { endpoint: services.metadata.clone(), role, allow_v1: services.allow_v1 };
            Ok(imds::begin(NAME, metadata))
        }
        "OIDC" => {
            let provider = profile.oidc_provider_arn.clone().ok_or(MissReason::MissingField)?;
            let token = profile.oidc_token_file.clone().ok_or(MissReason::MissingField)?;
            Ok(sts::assume_role_with_oidc(NAME, profile.role(services)?, provider, token))
        }
        "CloudSSO" | "OAuth" | "External" => Err(MissReason::ForPeople),
        _ => Err(MissReason::UnknownMode),
    }
}

impl Profile {
    fn keys(&self, token: Option<&str>) -> Result<crate::providers::source::Granted, MissReason> {
        let id = self.access_key_id.as_deref().unwrap_or_default();
        key(NAME, id, text(&self.access_key_secret).unwrap_or_default(), token, None)
    }

    fn role(&self, services: &Services) -> Result<Role, MissReason> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let session = filled(&self.ram_session_name).or_else(|| filled(&self.role_session_name));
        Ok(Role {
            arn: filled(&self.ram_role_arn).ok_or(MissReason::MissingField)?,
            session: session.unwrap_or_else(|| services.session.clone()),
            duration: seconds(self.expired_seconds),
            policy: filled(&self.policy),
            external_id: filled(&self.external_id),
            endpoint: services
                .sts(filled(&self.sts_region).as_deref(), self.enable_vpc)
                .map_err(|_| MissReason::RequestForm)?,
        })
    }
}

fn text(secret: &Option<Zeroizing<String>>) -> Option<&str> {
    secret.as_ref().map(|secret| secret.as_str()).filter(|secret| !secret.is_empty())
}
