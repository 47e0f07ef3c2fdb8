//! The table `credentials = { kind = "…", … }` of a provider's section, and the vendor's environment variables.
//!
//! A missing key defaults to the environment variable of the vendor's own clients. Every error names the key and the
//! fix, without the value.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::answer::key;
use super::cli_profile::CliProfile;
use super::imds::{Metadata, is_role};
use super::profile_file::ProfileFile;
use super::services::{HOUR, SHORTEST, Services};
use super::source::{Credentials, Kind};
use super::sts::Role;
use super::uri::KeysUri;
use crate::domain::personal::Secret;
use crate::providers::{Credential, Endpoint, Mistakes, Settings};

const KIND: &str = "credentials.kind";
/// The longest session that any role can allow.
const LONGEST: Duration = Duration::from_hours(12);
/// The default role session name.
const SESSION: &str = "idgate";
/// The metadata service, at the same address on every ECS instance.
const METADATA: &str = "http://100.100.100.200";
const METADATA_HOST: &str = "100.100.100.200";

/// The environment variables that the kinds read.
pub const VARIABLES: &[&str] = &[
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN",
    "ALIBABA_CLOUD_ROLE_ARN",
    "ALIBABA_CLOUD_ROLE_SESSION_NAME",
    "ALIBABA_CLOUD_CLI_PROFILE_DISABLED",
    "ALIBABA_CLOUD_CONFIG_FILE",
    "ALIBABA_CLOUD_PROFILE",
    "ALIBABA_CLOUD_CREDENTIALS_FILE",
    "ALIBABA_CLOUD_ECS_METADATA",
    "ALIBABA_CLOUD_ECS_METADATA_DISABLED",
    "ALIBABA_CLOUD_IMDSV1_DISABLED",
    "ALIBABA_CLOUD_CREDENTIALS_URI",
    "ALIBABA_CLOUD_STS_REGION",
    "ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED",
    "HOME",
];

/// The kinds, and the keys that each accepts in addition to `kind`.
pub const KEYS: &[(&str, &[&str])] = &[
    ("default_chain", &["credentials.sts_endpoint", "credentials.endpoint"]),
    ("environment", &[]),
    (
        "oidc_role",
        &[
            "credentials.role_arn",
            "credentials.oidc_provider_arn",
            "credentials.token_file",
            "credentials.session_name",
            "credentials.duration",
            "credentials.policy",
            "credentials.sts_endpoint",
        ],
    ),
    ("cli_profile", &["credentials.file", "credentials.profile", "credentials.sts_endpoint", "credentials.endpoint"]),
    ("profile_file", &["credentials.file", "credentials.profile", "credentials.sts_endpoint", "credentials.endpoint"]),
    ("ecs_metadata", &["credentials.role_name", "credentials.allow_v1", "credentials.endpoint"]),
    ("uri", &["credentials.uri"]),
    (
        "ram_role_arn",
        &[
            "credentials.role_arn",
            "credentials.session_name",
            "credentials.external_id",
            "credentials.duration",
            "credentials.policy",
            "credentials.sts_endpoint",
            "credentials.access_key_id",
            "credentials.access_key_secret",
            "credentials.security_token",
        ],
    ),
];

pub fn is_present(settings: &Settings) -> bool {
    settings.plain.keys().chain(settings.secret.keys()).any(|key| is_ours(key))
}

pub fn is_ours(key: &str) -> bool {
    key.starts_with("credentials.")
}

/// Reads the table. Returns nothing if it contains a mistake, which is added to `mistakes`.
pub fn configure(settings: &Settings, mistakes: &mut Mistakes) -> Option<Credentials> {
    let words: Vec<_> = KEYS.iter().map(|(kind, _)| *kind).collect();
    let word = settings.plain.get(KIND).map(String::as_str).unwrap_or_default();
    let Some((word, keys)) = KEYS.iter().find(|(kind, _)| *kind == word) else {
        mistakes.push((KIND, format!("must be one of: {}", words.join(", "))));
        return None;
    };
    let before = mistakes.len();
    let given = settings.plain.keys().chain(settings.secret.keys()).map(String::as_str);
    for unknown in given.filter(|key| is_ours(key) && *key != KIND && !keys.contains(key)) {
        let takes: Vec<_> = keys.iter().filter_map(|key| key.strip_prefix("credentials.")).collect();
        let takes = if takes.is_empty() { "nothing".to_owned() } else { takes.join(", ") };
        let short = unknown.strip_prefix("credentials.").unwrap_or_default();
        mistakes.push(("credentials", format!("takes no `{short}` with kind = \"{word}\"; it takes {takes}")));
    }
    let mut reader = Reader { settings, mistakes };
    let kind = reader.kind(word);
    let kind = kind.filter(|_| mistakes.len() == before)?;
    Some(Credentials { kind, fingerprint: settings.fingerprint() })
}

struct Reader<'a> {
    settings: &'a Settings,
    mistakes: &'a mut Mistakes,
}

impl<'a> Reader<'a> {
    fn kind(&mut self, word: &str) -> Option<Kind> {
        match word {
            "default_chain" => self.default_chain(),
            "environment" => {
                let credential = self.of_environment();
                if credential.is_none() {
                    let problem = "needs the environment variables ALIBABA_CLOUD_ACCESS_KEY_ID and \
                                   ALIBABA_CLOUD_ACCESS_KEY_SECRET; set both to a key";
                    self.mistakes.push((KIND, problem.to_owned()));
                }
                Some(Kind::Environment(credential))
            }
            "oidc_role" => {
                let role = self.role();
                let provider_arn =
                    self.needed("credentials.oidc_provider_arn", Some("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"));
                let token_file = self.needed("credentials.token_file", Some("ALIBABA_CLOUD_OIDC_TOKEN_FILE"));
                Some(Kind::OidcRole { role: role?, provider_arn: provider_arn?, token_file: token_file?.into() })
            }
            "cli_profile" => {
                let services = self.services();
                self.cli_profile(services?)
            }
            "profile_file" => {
                let services = self.services();
                self.profile_file(services?)
            }
            "ecs_metadata" => {
                let role = self.text("credentials.role_name").or_else(|| self.variable("ALIBABA_CLOUD_ECS_METADATA"));
                if role.as_deref().is_some_and(|role| !is_role(role)) {
                    let problem = "is no name of a role: letters, digits and - _ . @ only".to_owned();
                    self.mistakes.push(("credentials.role_name", problem));
                }
                let allow_v1 = self.allow_v1();
                let endpoint = self.metadata();
                Some(Kind::EcsMetadata(Metadata { endpoint: endpoint?, role, allow_v1: allow_v1? }))
            }
            "uri" => {
                let uri = self.needed("credentials.uri", Some("ALIBABA_CLOUD_CREDENTIALS_URI"))?;
                self.checked("credentials.uri", KeysUri::parse(&uri)).map(Kind::Uri)
            }
            _ => {
                let role = self.role();
                let base = self.base();
                Some(Kind::RamRoleArn { role: role?, base: base? })
            }
        }
    }

    /// In the vendor's order. Sources whose variables are not set are skipped.
    fn default_chain(&mut self) -> Option<Kind> {
        let services = self.services()?;
        let mut links = vec![Kind::Environment(self.of_environment())];
        if let (Some(arn), Some(provider_arn), Some(token_file)) = (
            self.variable("ALIBABA_CLOUD_ROLE_ARN"),
            self.variable("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"),
            self.variable("ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
        ) {
            let endpoint = services.sts(None, None).ok()?;
            let session = services.session.clone();
            let role = Role { arn, session, duration: HOUR, policy: None, external_id: None, endpoint };
            links.push(Kind::OidcRole { role, provider_arn, token_file: token_file.into() });
        }
        if !self.is_true("ALIBABA_CLOUD_CLI_PROFILE_DISABLED") && self.has_home("ALIBABA_CLOUD_CONFIG_FILE") {
            links.extend(self.cli_profile(services.clone()));
        }
        if self.has_home("ALIBABA_CLOUD_CREDENTIALS_FILE") {
            links.extend(self.profile_file(services.clone()));
        }
        if !self.is_true("ALIBABA_CLOUD_ECS_METADATA_DISABLED") {
            let role = self.variable("ALIBABA_CLOUD_ECS_METADATA").filter(|role| is_role(role));
            let (endpoint, allow_v1) = (services.metadata, services.allow_v1);
            links.push(Kind::EcsMetadata(Metadata { endpoint, role, allow_v1 }));
        }
        if let Some(uri) = self.variable("ALIBABA_CLOUD_CREDENTIALS_URI") {
            let place = KeysUri::parse(&uri);
            let place = place.map_err(|problem| format!("the variable ALIBABA_CLOUD_CREDENTIALS_URI {problem}"));
            links.extend(self.checked("credentials", place).map(Kind::Uri));
        }
        Some(Kind::DefaultChain(links))
    }

    fn cli_profile(&mut self, services: Services) -> Option<Kind> {
        let file = self.file("ALIBABA_CLOUD_CONFIG_FILE", ".aliyun/config.json")?;
        let profile = self.text("credentials.profile").or_else(|| self.variable("ALIBABA_CLOUD_PROFILE"));
        Some(Kind::CliProfile(CliProfile { file, profile, services }))
    }

    fn profile_file(&mut self, services: Services) -> Option<Kind> {
        let file = self.file("ALIBABA_CLOUD_CREDENTIALS_FILE", ".alibabacloud/credentials")?;
        let mut files = vec![file];
        let is_default = self.text("credentials.file").is_none() && !self.has("ALIBABA_CLOUD_CREDENTIALS_FILE");
        if let (true, Some(home)) = (is_default, self.variable("HOME")) {
            // The paths of the vendor's Python client.
            files.push(PathBuf::from(home).join(".alibabacloud/credentials.ini"));
        }
        let section = self.text("credentials.profile").or_else(|| self.variable("ALIBABA_CLOUD_PROFILE"));
        let section = section.unwrap_or_else(|| "default".to_owned());
        Some(Kind::ProfileFile(ProfileFile { files, section, services }))
    }

    fn services(&mut self) -> Option<Services> {
        let sts_endpoint = self.sts_endpoint();
        let metadata = self.metadata();
        let services = Services {
            sts_endpoint: sts_endpoint?,
            sts_region: self.variable("ALIBABA_CLOUD_STS_REGION"),
            vpc: self.is_true("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"),
            metadata: metadata?,
            allow_v1: !self.is_true("ALIBABA_CLOUD_IMDSV1_DISABLED"),
            session: self.variable("ALIBABA_CLOUD_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION.to_owned()),
        };
        if services.sts(None, None).is_err() {
            let problem = "the variable ALIBABA_CLOUD_STS_REGION is no region; write for example cn-hangzhou";
            self.mistakes.push(("credentials", problem.to_owned()));
            return None;
        }
        Some(services)
    }

    fn role(&mut self) -> Option<Role> {
        let arn = self.needed("credentials.role_arn", Some("ALIBABA_CLOUD_ROLE_ARN"));
        let duration = self.duration();
        let services = self.services();
        let session = self.text("credentials.session_name");
        let services = services?;
        Some(Role {
            arn: arn?,
            session: session.unwrap_or_else(|| services.session.clone()),
            duration: duration?,
            policy: self.text("credentials.policy"),
            external_id: self.text("credentials.external_id"),
            endpoint: services.sts(None, None).ok()?,
        })
    }

    fn base(&mut self) -> Option<Credential> {
        let mut secret = |key: &'static str, required: bool| {
            let found = self.settings.secret.get(key).map(Secret::expose);
            if required && found.is_none_or(str::is_empty) {
                self.mistakes.push((key, "is missing; STS lends a role only against other keys".to_owned()));
            }
            found.filter(|text| !text.is_empty())
        };
        let id = secret("credentials.access_key_id", true);
        let key_secret = secret("credentials.access_key_secret", true);
        let token = secret("credentials.security_token", false);
        let granted = key("base", id?, key_secret?, token, None);
        let granted = granted.map_err(|_| "hold a character that no key has, such as a space".to_owned());
        self.checked("credentials.access_key_id", granted).map(|granted| granted.credential)
    }

    fn of_environment(&self) -> Option<Credential> {
        let find = |name| self.variable(name).unwrap_or_default();
        let token = self.variable("ALIBABA_CLOUD_SECURITY_TOKEN");
        let (id, secret) = (find("ALIBABA_CLOUD_ACCESS_KEY_ID"), find("ALIBABA_CLOUD_ACCESS_KEY_SECRET"));
        key("environment", &id, &secret, token.as_deref(), None).ok().map(|granted| granted.credential)
    }

    fn duration(&mut self) -> Option<Duration> {
        const KEY: &str = "credentials.duration";
        let Some(text) = self.text(KEY) else { return Some(HOUR) };
        let read: Option<SignedDuration> = text.parse().ok();
        let duration = read.and_then(|duration| Duration::try_from(duration).ok());
        let fits = duration.filter(|duration| (SHORTEST..=LONGEST).contains(duration));
        self.checked(KEY, fits.ok_or_else(|| "must be a time from \"15m\" to \"12h\"".to_owned()))
    }

    fn allow_v1(&mut self) -> Option<bool> {
        match self.text("credentials.allow_v1").as_deref() {
            None => Some(!self.is_true("ALIBABA_CLOUD_IMDSV1_DISABLED")),
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => self.checked("credentials.allow_v1", Err("must be true or false".to_owned())),
        }
    }

    fn sts_endpoint(&mut self) -> Option<Option<Endpoint>> {
        match self.text("credentials.sts_endpoint") {
            None => Some(None),
            Some(text) => self.checked("credentials.sts_endpoint", Endpoint::parse(&text)).map(Some),
        }
    }

    /// The only remote address allowed over plain http: it is link-local, so only this machine reaches it.
    fn metadata(&mut self) -> Option<Endpoint> {
        let text = self.text("credentials.endpoint").unwrap_or_else(|| METADATA.to_owned());
        let parsed = if text == METADATA { Ok(Endpoint::link_local(METADATA_HOST)) } else { Endpoint::parse(&text) };
        self.checked("credentials.endpoint", parsed)
    }

    fn file(&mut self, variable: &'static str, below_home: &str) -> Option<PathBuf> {
        const KEY: &str = "credentials.file";
        let home = self.variable("HOME").map(PathBuf::from);
        let named = self.text(KEY).or_else(|| self.variable(variable));
        let file = match (named, home) {
            (Some(named), Some(home)) if named.starts_with("~/") => Some(home.join(named.trim_start_matches("~/"))),
            (Some(named), _) => Some(PathBuf::from(named)),
            (None, home) => home.map(|home| home.join(below_home)),
        };
        let problem = format!("is missing, and HOME is not set; write the file, or set {variable}");
        self.checked(KEY, file.ok_or(problem))
    }

    fn needed(&mut self, key: &'static str, variable: Option<&'static str>) -> Option<String> {
        let found = self.text(key).or_else(|| self.variable(variable?));
        let or_set = variable.map(|name| format!(", or set the environment variable {name}")).unwrap_or_default();
        self.checked(key, found.ok_or_else(|| format!("is missing; write it{or_set}")))
    }

    fn checked<T>(&mut self, key: &'static str, value: Result<T, String>) -> Option<T> {
        value.map_err(|problem| self.mistakes.push((key, problem))).ok()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.settings.plain.get(key).filter(|text| !text.is_empty()).cloned()
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = self.settings.variables.get(name)?;
        Some(value.expose().to_owned()).filter(|text| !text.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.variable(name).is_some()
    }

    fn has_home(&self, or_file: &str) -> bool {
        self.has("HOME") || self.has(or_file) || self.text("credentials.file").is_some()
    }

    fn is_true(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}
