//! The table `credentials = { kind = "…", … }` of a provider's section, and the vendor's environment variables.
//!
//! A missing key defaults to the environment variable of the vendor's own clients. Every error names the key and the
//! fix, without the value.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::answer::key;
use super::metadata::is_role;
use super::source::{Credentials, Kind};
use super::sts::Role;
use crate::domain::personal::Secret;
use crate::providers::tencent::scheme::is_region;
use crate::providers::{Credential, Endpoint, Mistakes, Settings};

const KIND: &str = "credentials.kind";
/// The vendor's default session duration, and the longest that any role can allow.
const TWO_HOURS: Duration = Duration::from_hours(2);
const LONGEST: Duration = Duration::from_hours(12);
const SHORTEST: Duration = Duration::from_mins(15);
/// The default role session name.
const SESSION: &str = "idgate";
/// STS requires a region but accepts any.
const REGION: &str = "ap-guangzhou";
const STS: &str = "https://sts.tencentcloudapi.com";
/// Reachable from the vendor's instances only, and without TLS.
const METADATA_HOST: &str = "metadata.tencentyun.com";

/// The environment variables that the kinds read.
pub(in crate::providers::tencent) const VARIABLES: &[&str] = &[
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_SESSION_TOKEN",
    "TENCENTCLOUD_CREDENTIALS_FILE",
    "TENCENTCLOUD_ROLE_ARN",
    "TENCENTCLOUD_ROLE_SESSION_NAME",
    "TKE_REGION",
    "TKE_PROVIDER_ID",
    "TKE_WEB_IDENTITY_TOKEN_FILE",
    "TKE_ROLE_ARN",
    "HOME",
];

/// The kinds, and the keys that each accepts in addition to `kind`.
const KEYS: &[(&str, &[&str])] = &[
    ("default_chain", &["sts_endpoint", "endpoint"]),
    ("environment", &[]),
    ("profile_file", &["file", "profile"]),
    ("cvm_metadata", &["role_name", "endpoint"]),
    ("oidc_role", &["role_arn", "provider_id", "token_file", "region", "session_name", "duration", "sts_endpoint"]),
    (
        "assume_role",
        &[
            "role_arn",
            "region",
            "session_name",
            "duration",
            "sts_endpoint",
            "secret_id",
            "secret_key",
            "security_token",
        ],
    ),
];

pub(in crate::providers::tencent) fn is_present(settings: &Settings) -> bool {
    settings.plain.keys().chain(settings.secret.keys()).any(|key| is_ours(key))
}

pub(in crate::providers::tencent) fn is_ours(key: &str) -> bool {
    key.starts_with("credentials.")
}

/// Reads the table; `None` if it contains a mistake, which is added to `mistakes`.
pub(in crate::providers::tencent) fn configure(settings: &Settings, mistakes: &mut Mistakes) -> Option<Credentials> {
    let word = settings.plain.get(KIND).map(String::as_str).unwrap_or_default();
    let Some((word, keys)) = KEYS.iter().find(|(kind, _)| *kind == word) else {
        let words: Vec<_> = KEYS.iter().map(|(kind, _)| *kind).collect();
        mistakes.push((KIND, format!("must be one of: {}", words.join(", "))));
        return None;
    };
    let before = mistakes.len();
    let given = settings.plain.keys().chain(settings.secret.keys());
    for short in given.filter_map(|key| key.strip_prefix("credentials.")) {
        if short != "kind" && !keys.contains(&short) {
            let takes = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
            mistakes.push(("credentials", format!("takes no `{short}` with kind = \"{word}\"; it takes {takes}")));
        }
    }
    let kind = Reader { settings, mistakes }.kind(word);
    let kind = kind.filter(|_| mistakes.len() == before)?;
    Some(Credentials { kind, fingerprint: settings.fingerprint() })
}

struct Reader<'a> {
    settings: &'a Settings,
    mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    fn kind(&mut self, word: &str) -> Option<Kind> {
        match word {
            "default_chain" => self.default_chain(),
            "environment" => {
                let credential = self.of_environment();
                if credential.is_none() {
                    let problem = "needs the environment variables TENCENTCLOUD_SECRET_ID and \
                                   TENCENTCLOUD_SECRET_KEY; set both to a key";
                    self.mistakes.push((KIND, problem.to_owned()));
                }
                Some(Kind::Environment(credential))
            }
            "profile_file" => {
                let section = self.text("credentials.profile").unwrap_or_else(|| "default".to_owned());
                Some(Kind::ProfileFile { files: self.files(), section })
            }
            "cvm_metadata" => {
                let role = self.text("credentials.role_name");
                if role.as_deref().is_some_and(|role| !is_role(role)) {
                    let problem = "is no name of a role: letters, digits and - _ . @ only".to_owned();
                    self.mistakes.push(("credentials.role_name", problem));
                }
                Some(Kind::CvmMetadata { endpoint: self.metadata()?, role })
            }
            "oidc_role" => {
                let role = self.role("TKE_ROLE_ARN");
                let provider = self.needed("credentials.provider_id", "TKE_PROVIDER_ID");
                let token_file = self.needed("credentials.token_file", "TKE_WEB_IDENTITY_TOKEN_FILE");
                Some(Kind::OidcRole { role: role?, provider: provider?, token_file: token_file?.into() })
            }
            _ => {
                let (role, base) = (self.role("TENCENTCLOUD_ROLE_ARN"), self.base());
                Some(Kind::AssumeRole { role: role?, base: base? })
            }
        }
    }

    /// In the order of the vendor's clients. Sources whose variables are not set are skipped.
    fn default_chain(&mut self) -> Option<Kind> {
        let mut links = vec![
            Kind::Environment(self.of_environment()),
            Kind::ProfileFile { files: self.files(), section: "default".to_owned() },
            Kind::CvmMetadata { endpoint: self.metadata()?, role: None },
        ];
        let names = ["TKE_REGION", "TKE_ROLE_ARN", "TKE_PROVIDER_ID", "TKE_WEB_IDENTITY_TOKEN_FILE"];
        if let [Some(region), Some(arn), Some(provider), Some(file)] = names.map(|name| self.variable(name)) {
            let session = self.session();
            let role = Role { arn, session, duration: TWO_HOURS, region, endpoint: self.sts()? };
            links.push(Kind::OidcRole { role, provider, token_file: file.into() });
        }
        Some(Kind::DefaultChain(links))
    }

    fn files(&self) -> Vec<PathBuf> {
        let home = self.variable("HOME").map(PathBuf::from);
        let named = self.text("credentials.file").or_else(|| self.variable("TENCENTCLOUD_CREDENTIALS_FILE"));
        match (named, home) {
            (Some(named), Some(home)) if named.starts_with("~/") => vec![home.join(named.trim_start_matches("~/"))],
            (Some(named), _) => vec![named.into()],
            (None, home) => {
                let of_home = home.map(|home| home.join(".tencentcloud/credentials"));
                of_home.into_iter().chain(["/etc/tencentcloud/credentials".into()]).collect()
            }
        }
    }

    fn role(&mut self, variable: &'static str) -> Option<Role> {
        let arn = self.needed("credentials.role_arn", variable);
        let (duration, endpoint) = (self.duration(), self.sts());
        let region = self.text("credentials.region").or_else(|| self.variable("TKE_REGION"));
        let region = region.unwrap_or_else(|| REGION.to_owned());
        if !is_region(&region) {
            let problem = "is no region; write for example \"ap-guangzhou\"".to_owned();
            self.mistakes.push(("credentials.region", problem));
        }
        let session = self.text("credentials.session_name").unwrap_or_else(|| self.session());
        Some(Role { arn: arn?, session, duration: duration?, region, endpoint: endpoint? })
    }

    fn base(&mut self) -> Option<Credential> {
        let mut part = |key: &'static str, is_needed: bool| {
            let found = self.settings.secret.get(key).map(Secret::expose).filter(|text| !text.is_empty());
            if is_needed && found.is_none() {
                self.mistakes.push((key, "is missing; STS lends a role only against other keys".to_owned()));
            }
            found
        };
        let (id, secret) = (part("credentials.secret_id", true), part("credentials.secret_key", true));
        let token = part("credentials.security_token", false);
        let granted = key("base", id?, secret?, token, None);
        let granted = granted.map_err(|_| "holds a character that no key has, such as a space".to_owned());
        self.checked("credentials.secret_id", granted).map(|granted| granted.credential)
    }

    /// The token has two names because the vendor's clients disagree. With two different values neither can be trusted.
    fn of_environment(&mut self) -> Option<Credential> {
        let tokens = [self.variable("TENCENTCLOUD_TOKEN"), self.variable("TENCENTCLOUD_SESSION_TOKEN")];
        if let [Some(one), Some(other)] = &tokens
            && one != other
        {
            let problem = "the environment variables TENCENTCLOUD_TOKEN and TENCENTCLOUD_SESSION_TOKEN differ; set one";
            self.mistakes.push(("credentials", problem.to_owned()));
        }
        let token = tokens.into_iter().flatten().next();
        let part = |name| self.variable(name).unwrap_or_default();
        let (id, secret) = (part("TENCENTCLOUD_SECRET_ID"), part("TENCENTCLOUD_SECRET_KEY"));
        key("environment", &id, &secret, token.as_deref(), None).ok().map(|granted| granted.credential)
    }

    fn session(&self) -> String {
        self.variable("TENCENTCLOUD_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION.to_owned())
    }

    fn duration(&mut self) -> Option<Duration> {
        const KEY: &str = "credentials.duration";
        let Some(text) = self.text(KEY) else { return Some(TWO_HOURS) };
        let read: Option<SignedDuration> = text.parse().ok();
        let duration = read.and_then(|duration| Duration::try_from(duration).ok());
        let fits = duration.filter(|duration| (SHORTEST..=LONGEST).contains(duration));
        self.checked(KEY, fits.ok_or_else(|| "must be a time from \"15m\" to \"12h\"".to_owned()))
    }

    fn sts(&mut self) -> Option<Endpoint> {
        let text = self.text("credentials.sts_endpoint").unwrap_or_else(|| STS.to_owned());
        self.checked("credentials.sts_endpoint", Endpoint::parse(&text))
    }

    fn metadata(&mut self) -> Option<Endpoint> {
        let endpoint = match self.text("credentials.endpoint") {
            Some(text) => Endpoint::parse(&text),
            None => Ok(Endpoint::link_local(METADATA_HOST)),
        };
        self.checked("credentials.endpoint", endpoint)
    }

    fn needed(&mut self, key: &'static str, variable: &'static str) -> Option<String> {
        let found = self.text(key).or_else(|| self.variable(variable));
        let problem = format!("is missing; write it, or set the environment variable {variable}");
        self.checked(key, found.ok_or(problem))
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
}
