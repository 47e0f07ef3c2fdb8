//! The vendor's INI file, `~/.alibabacloud/credentials`.
//!
//! The reader is our own twenty lines: the format is `[section]`, `key = value` and comments, and a library's error
//! would quote the line that it did not like, which holds a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::answer::key;
use super::imds::Metadata;
use super::services::{Services, seconds};
use super::sts::Role;
use super::{imds, sts};
use crate::providers::source::{Step, Trouble};

/// The word for this source.
pub(super) const NAME: &str = "profile_file";

/// Which section of which file.
#[derive(Debug, Clone)]
pub struct ProfileFile {
    /// The files, the first that can be read is the one.
    pub files: Vec<PathBuf>,
    /// The section.
    pub section: String,
    /// Where its types lead.
    pub services: Services,
}

type Section = BTreeMap<String, Zeroizing<String>>;

/// Fetches the keys that the section leads to.
pub(super) fn begin(mut settings: ProfileFile) -> Step {
    if settings.files.is_empty() {
        return Step::failed(NAME, Trouble::NotSet);
    }
    let file = settings.files.remove(0);
    let (others, has_others) = (settings.clone(), !settings.files.is_empty());
    Step::Read(
        file,
        Box::new(move |content| match content {
            Some(content) => parse(&content, &settings.section)
                .and_then(|section| follow(&section, &settings.services))
                .unwrap_or_else(|trouble| Step::failed(NAME, trouble)),
            None if has_others => begin(others),
            None => Step::failed(NAME, Trouble::FileUnreadable),
        }),
    )
}

fn follow(section: &Section, services: &Services) -> Result<Step, Trouble> {
    let find = |key: &str| section.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty());
    let need = |key: &str| find(key).ok_or(Trouble::MissingField);
    let keys = || key(NAME, need("access_key_id")?, need("access_key_secret")?, find("security_token"), None);
    let role = || {
        Ok(Role {
            arn: need("role_arn")?.to_owned(),
            session: find("role_session_name").map_or_else(|| services.session.clone(), str::to_owned),
            duration: seconds(None),
            policy: find("policy").map(str::to_owned),
            external_id: find("external_id").map(str::to_owned),
            endpoint: services.sts(None, None).map_err(|_| Trouble::RequestForm)?,
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
        _ => Err(Trouble::UnknownMode),
    }
}

/// The keys of one section. As in the vendor's clients, what follows a `#` is a comment.
fn parse(content: &[u8], wanted: &str) -> Result<Section, Trouble> {
    let text = std::str::from_utf8(content).map_err(|_| Trouble::FileForm)?;
    let (mut found, mut inside) = (None, false);
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            inside = name.split_once(']').ok_or(Trouble::FileForm)?.0.trim() == wanted;
            if inside {
                found.get_or_insert_with(Section::new);
            }
            continue;
        }
        let (key, value) = line.split_once(['=', ':']).ok_or(Trouble::FileForm)?;
        if let Some(section) = found.as_mut().filter(|_| inside) {
            let value = value.split('#').next().unwrap_or_default().trim();
            section.insert(key.trim().to_ascii_lowercase(), Zeroizing::new(value.to_owned()));
        }
    }
    found.ok_or(Trouble::NoProfile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_as_the_vendors_clients_read_it() {
        let text = "\u{feff}# mine\n[default]\ntype=access_key\n[ idv ]\nType : ram_role_arn\n; no\n\
                    access_key_secret = a=b:c  # old\npolicy =\n";
        let section = parse(text.as_bytes(), "idv").unwrap();
        let read = |key: &str| section.get(key).map(|value| value.as_str());
        assert_eq!((read("type"), read("access_key_secret")), (Some("ram_role_arn"), Some("a=b:c")));
        assert_eq!((read("policy"), section.len()), (Some(""), 3));
        assert_eq!(parse(text.as_bytes(), "other").unwrap_err(), Trouble::NoProfile);
        for bad in [&b"[default\ntype=x"[..], b"[default]\nnothing", b"\xff"] {
            assert_eq!(parse(bad, "default").unwrap_err(), Trouble::FileForm);
        }
    }
}
