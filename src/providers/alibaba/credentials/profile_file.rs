//! The vendor's INI file, `~/.alibabacloud/credentials`.

use std::path::PathBuf;

use super::answer::key;
use super::imds::Metadata;
use super::services::{Services, seconds};
use super::sts::Role;
use super::{imds, sts};
use crate::providers::codec::ini::{self, Section};
use crate::providers::source::{MissReason, Step};

pub(super) const NAME: &str = "profile_file";

#[derive(Debug, Clone)]
pub struct ProfileFile {
    /// Candidate files; the first readable one is used.
    pub files: Vec<PathBuf>,
    pub section: String,
    pub services: Services,
}

/// Fetches the keys of the section.
pub(super) fn begin(mut settings: ProfileFile) -> Step {
    if settings.files.is_empty() {
        return Step::failed(NAME, MissReason::NotSet);
    }
    let file = settings.files.remove(0);
    let (others, has_others) = (settings.clone(), !settings.files.is_empty());
    Step::Read(
        file,
        Box::new(move |content| match content {
            Some(content) => ini::section(&content, &settings.section)
                .map_err(MissReason::from)
                .and_then(|section| follow(&section, &settings.services))
                .unwrap_or_else(|reason| Step::failed(NAME, reason)),
            None if has_others => begin(others),
            None => Step::failed(NAME, MissReason::FileUnreadable),
        }),
    )
}

fn follow(section: &Section, services: &Services) -> Result<Step, MissReason> {
    let find = |key: &str| section.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty());
    let need = |key: &str| find(key).ok_or(MissReason::MissingField);
    let keys = || key(NAME, need("access_key_id")?, need("access_key_secret")?, find("security_token"), None);
    let role = || -> Result<Role, MissReason> {
        Ok(Role {
            arn: need("role_arn")?.to_owned(),
            session: find("role_session_name").map_or_else(|| services.session.clone(), str::to_owned),
            duration: seconds(None),
            policy: find("policy").map(str::to_owned),
            external_id: find("external_id").map(str::to_owned),
            endpoint: services.sts(None, None).map_err(|_| MissReason::RequestForm)?,
        })
    };
    match need("type")? {
        "access_key" => keys().map(Step::Done),
        "ram_role_arn" => Ok(sts::assume_role(NAME, role()?, keys()?)),
        "oidc_role_arn" => {
            let (provider, token) = (need("oidc_provider_arn")?.to_owned(), need("oidc_token_file_path")?.into());
            Ok(sts::assume_role_with_oidc(NAME, role()?, provider, token))
        }
        "ecs_ram_role" => {
            let role = find("role_name").map(str::to_owned);
            Ok(imds::begin(NAME, Metadata { endpoint: services.metadata.clone(), role, allow_v1: services.allow_v1 }))
        }
        _ => Err(MissReason::UnknownMode),
    }
}
