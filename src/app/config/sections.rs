//! The sum of all sections, and what must hold between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::name::check_name;
use super::profile::Profile;
use super::provider::{self, DriverSettings};
use super::secret::{ADMIN_TLS_KEY, DIGEST_KEY, TLS_KEY};
use super::{Read, Sections, issued, money, receipts, tls};
use crate::domain::id_number::Calendar;
use crate::domain::personal::Secret;
use crate::domain::region::Regions;
use crate::domain::subject::PairRules;
use crate::resilience::{account, breaker};
use crate::server::api::auth::{ANONYMOUS, ClientConfig, DEFAULT_PURPOSE};
use crate::server::api::certificate::Identity;
use crate::server::api::issued::Issued;
use crate::server::api::key::KeyConfig;
use crate::server::api::receipt;
use crate::server::operator::OperatorConfig;
use crate::server::{api, compat, listener};
use crate::storage;
use crate::verify::{self, dns, enumeration, hold, policy};

/// The longest of the times for which somebody waits. Far beyond it lies the end of what a clock can tell.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// The SHA-256 of nothing: what `sha256sum` says of a variable that is not set, and what a caller without a key presents.
pub(super) const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A whole configuration, checked.
#[derive(Debug)]
pub struct Settings {
    /// What a later configuration is compared with.
    pub sections: Sections,
    /// Laptop or production.
    pub profile: Profile,
    /// Section `[server]`.
    pub server: Server,
    /// Section `[server.tls]`, ready for handshakes.
    pub tls: Option<listener::Tls>,
    /// Section `[server.admin_tls]`, ready for handshakes.
    pub admin_tls: Option<listener::Tls>,
    /// Section `[log]`.
    pub log: Log,
    /// Section `[reload]`.
    pub reload: Reload,
    /// Section `[rules]`.
    pub rules: api::Rules,
    /// Region names, embedded or from the configured file.
    pub regions: Regions,
    /// Sections `[clients.NAME]`.
    pub clients: BTreeMap<String, ClientConfig>,
    /// The keys that are issued to callers of the providers' protocols.
    pub issued: Vec<Issued>,
    /// Section `[compat]`.
    pub compat: compat::Config,
    /// Sections `[operators.NAME]`.
    pub operators: BTreeMap<String, OperatorConfig>,
    /// Every purpose that somebody may name.
    pub purposes: Vec<String>,
    /// Section `[cache]`.
    pub cache: storage::Config,
    /// Section `[ledger]`.
    pub ledger: storage::ledger::Config,
    /// Section `[receipts]`, ready to sign.
    pub receipts: receipt::keys::Keys,
    /// The secret of all digests, if one is configured.
    pub digest_key: Option<Secret>,
    /// Providers, chain, breakers, holds.
    pub verify: verify::Config,
}

/// Section `[server]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where services ask.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin_listen: SocketAddr,
    /// The longest wait for a verdict.
    #[serde(with = "friendly")]
    pub request_timeout: Duration,
    /// The longest wait for a body.
    #[serde(with = "friendly")]
    pub body_timeout: Duration,
    /// The largest body.
    pub max_body_bytes: usize,
    /// Requests worked on at once.
    pub max_in_flight: usize,
    /// How long a stop shows before connections are refused.
    #[serde(with = "friendly")]
    pub drain_notice: Duration,
    /// How long a stop waits for work under way.
    #[serde(with = "friendly")]
    pub drain_timeout: Duration,
    /// What a request has to show.
    pub client_identity: Identity,
    /// The limits of connections.
    pub connections: listener::Config,
    /// TLS where services ask; plain without it.
    #[serde(default)]
    pub tls: Option<listener::tls::Section>,
    /// TLS where operators look; plain without it.
    #[serde(default)]
    pub admin_tls: Option<listener::tls::Section>,
}

/// Section `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// How lines look.
    pub format: Format,
    /// Where request lines go; standard output if not set.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// Section `[reload]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// How often the files are looked at; zero turns that off.
    #[serde(with = "friendly")]
    pub poll: Duration,
}

/// Section `[rules]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    calendar: CalendarWord,
    name_script: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CalendarWord {
    Strict,
    Lenient,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegionsSection {
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetSection {
    extra_attempts_per_minute: u32,
}

/// All sections as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    profile: Profile,
    server: Server,
    log: Log,
    reload: Reload,
    rules: Rules,
    compat: compat::Config,
    #[serde(default)]
    regions: RegionsSection,
    #[serde(default)]
    clients: BTreeMap<String, ClientConfig>,
    #[serde(default)]
    operators: BTreeMap<String, OperatorConfig>,
    #[serde(default)]
    purposes: BTreeMap<String, policy::Purpose>,
    cache: storage::Config,
    ledger: storage::ledger::Config,
    #[serde(default)]
    receipts: receipt::keys::Config,
    holds: hold::Config,
    enumeration: enumeration::Config,
    budget: BudgetSection,
    breaker: breaker::Config,
    account: account::Config,
    dns: dns::Config,
    #[serde(default)]
    providers: BTreeMap<String, provider::Section>,
    chain: policy::Config,
}

/// Checks everything that sections say about themselves and about each other.
pub(super) fn finish(
    raw: Raw,
    mut drivers: DriverSettings,
    mut sections: Sections,
    read: &mut Read,
) -> Option<Settings> {
    check_server(&raw, read);
    check_clients(&raw.clients, read);
    let issued = issued::finish(&raw.compat, &raw.clients, read);
    check_operators(&raw.operators, read);
    tls::check_certificates(&raw.server, &raw.clients, &raw.operators, read);
    let public_tls = tls::finish(("server.tls", TLS_KEY), raw.server.tls.as_ref(), &mut sections, read);
    let admin_tls =
        tls::finish(("server.admin_tls", ADMIN_TLS_KEY), raw.server.admin_tls.as_ref(), &mut sections, read);
    read.section("cache", raw.cache.validate());
    read.section("ledger", raw.ledger.validate());
    let is_told = read.mistakes.iter().any(|mistake| mistake.key == DIGEST_KEY);
    if raw.ledger.file.is_some() && !read.secrets.contains_key(DIGEST_KEY) && !is_told {
        let problem = "is missing, so that after a restart nobody could find a person in the ledger; write { file = \"PATH\" } of a \
                       secret that stays (`openssl rand -hex 32` makes one)";
        read.mistake(DIGEST_KEY, problem);
    }
    let receipts = receipts::finish(&raw.receipts, raw.ledger.file.is_some(), &mut sections, read);
    read.section("holds", raw.holds.validate());
    read.section("enumeration", raw.enumeration.validate());
    read.section("breaker", raw.breaker.validate());
    read.section("account", raw.account.validate());
    read.section("dns", raw.dns.validate());
    check_orders(&raw, read);
    check_purposes(&raw, read);
    if EnvFilter::try_new(&raw.log.level).is_err() {
        read.mistake("log.level", "is no level; write \"error\", \"warn\", \"info\" or \"debug\"");
    }
    let longest_call = raw.providers.values().map(provider::Section::call_limit).max().unwrap_or_default();
    if raw.breaker.probe_lease <= longest_call {
        let longest = longest_call.as_secs();
        read.mistake(
            "breaker.probe_lease",
            format!("must be longer than every call_limit (the longest is {longest}s)"),
        );
    }
    let regions = regions(&raw.regions, &mut sections, read);
    let providers: Vec<_> = raw
        .providers
        .iter()
        .filter_map(|(name, section)| {
            provider::finish(name, section, &drivers.remove(name).unwrap_or_default(), &mut sections, read)
        })
        .collect();
    let budgets = raw.clients.iter().filter_map(|(name, client)| Some((name, client.budget.as_ref()?)));
    let budgets: BTreeMap<_, _> = budgets
        .map(|(name, budget)| (Arc::from(&**name), money::limits(&format!("clients.{name}"), Some(budget), read)))
        .collect();
    check_money(&raw, read);
    let clients = match raw.clients.is_empty() {
        true => vec![Arc::from(ANONYMOUS)],
        false => raw.clients.keys().map(|name| Arc::from(&**name)).collect(),
    };
    let purposes: BTreeSet<String> = std::iter::once(DEFAULT_PURPOSE.to_owned())
        .chain(raw.purposes.keys().cloned())
        .chain(raw.clients.values().flat_map(|client| client.purposes.clone()))
        .collect();
    Some(Settings {
        sections,
        profile: raw.profile,
        reload: raw.reload,
        rules: api::Rules {
            calendar: match raw.rules.calendar {
                CalendarWord::Strict => Calendar::Strict,
                CalendarWord::Lenient => Calendar::Lenient,
            },
            pair: PairRules { name_script: raw.rules.name_script },
        },
        regions: regions?,
        clients: raw.clients,
        issued,
        compat: raw.compat,
        operators: raw.operators,
        purposes: purposes.into_iter().collect(),
        receipts: receipts?,
        digest_key: read.secrets.remove(DIGEST_KEY),
        verify: verify::Config {
            providers,
            chain: raw.chain,
            purposes: raw.purposes,
            breaker: Arc::new(raw.breaker),
            account: raw.account,
            holds: raw.holds,
            enumeration: raw.enumeration,
            clients,
            budgets,
            extra_attempts_per_minute: raw.budget.extra_attempts_per_minute,
            sharing: raw.cache.sharing,
            dns: raw.dns,
        },
        cache: raw.cache,
        ledger: raw.ledger,
        server: raw.server,
        tls: public_tls,
        admin_tls,
        log: raw.log,
    })
}

fn check_server(raw: &Raw, read: &mut Read) {
    let server = &raw.server;
    if raw.clients.is_empty() && !server.listen.ip().is_loopback() {
        let problem = "is not a loopback address, and no client is configured, so anybody could ask; add a \
                       [clients.NAME] section (`idgate key new NAME`) or write \"127.0.0.1:8080\"";
        read.mistake("server.listen", problem);
    }
    if raw.operators.is_empty() && !server.admin_listen.ip().is_loopback() {
        let problem = "is not a loopback address, and no operator is configured, so anybody could operate; add an \
                       [operators.NAME] section (`idgate key new NAME`) or write \"127.0.0.1:9464\"";
        read.mistake("server.admin_listen", problem);
    }
    for (key, value) in [("request_timeout", server.request_timeout), ("body_timeout", server.body_timeout)] {
        if value.is_zero() {
            read.mistake(format!("server.{key}"), "is zero, so nothing could be answered; write \"8s\"");
        }
    }
    let all = [
        ("server.request_timeout", server.request_timeout),
        ("server.body_timeout", server.body_timeout),
        ("server.drain_notice", server.drain_notice),
        ("server.drain_timeout", server.drain_timeout),
        ("chain.budget", raw.chain.budget),
        ("reload.poll", raw.reload.poll),
    ];
    for (key, _) in all.into_iter().filter(|(_, value)| *value > LONGEST_WAIT) {
        read.mistake(key, "is longer than a day, which nobody waits; write some seconds, such as \"8s\"");
    }
    if server.max_body_bytes < 256 {
        read.mistake("server.max_body_bytes", "is too small for a question; write 16384");
    }
    if server.max_in_flight == 0 {
        read.mistake("server.max_in_flight", "is 0, so every request would be shed; write 10000");
    }
    read.section("server.connections", server.connections.validate());
}

fn check_clients(clients: &BTreeMap<String, ClientConfig>, read: &mut Read) {
    for (name, client) in clients {
        let at = format!("clients.{name}");
        check_name(&at, name, read);
        read.section(&at, client.validate());
    }
    check_keys(clients.iter().map(|(name, client)| (format!("clients.{name}"), &*client.keys)), read);
}

fn check_operators(operators: &BTreeMap<String, OperatorConfig>, read: &mut Read) {
    for (name, operator) in operators {
        let at = format!("operators.{name}");
        check_name(&at, name, read);
        read.section(&at, operator.validate());
    }
    check_keys(operators.iter().map(|(name, operator)| (format!("operators.{name}"), &*operator.keys)), read);
}

/// Budgets and packages are counted from the ledger.
fn check_money(raw: &Raw, read: &mut Read) {
    let clients = raw.clients.iter().filter(|(_, client)| client.budget.is_some());
    let clients = clients.map(|(name, _)| format!("clients.{name}.budget"));
    let providers = raw.providers.iter();
    let providers: Vec<_> = providers
        .map(|(name, section)| (format!("providers.{name}"), section.counts_money(), section.packages()))
        .collect();
    money::check_ledger(clients, &providers, (raw.ledger.file.is_some(), raw.ledger.keep()), read);
}

/// A key opens one door for one owner.
fn check_keys<'a>(all: impl Iterator<Item = (String, &'a [KeyConfig])>, read: &mut Read) {
    let mut hashes = BTreeMap::new();
    for (at, keys) in all {
        for (index, key) in keys.iter().enumerate() {
            if key.sha256.eq_ignore_ascii_case(HASH_OF_NOTHING) {
                let problem = "is the SHA-256 of nothing, so everybody without a key would be let in; `idgate key new \
                               CLIENT` makes a key";
                read.mistake(format!("{at}.keys[{index}].sha256"), problem);
            }
            if let Some(other) = hashes.insert(key.sha256.to_ascii_lowercase(), format!("{at}.keys[{index}]")) {
                read.mistake(format!("{at}.keys[{index}]"), format!("is the same key as {other}; make a new one"));
            }
        }
    }
}

/// A misspelt purpose would leave the real one under the general policy, without a word.
fn check_purposes(raw: &Raw, read: &mut Read) {
    let known = |name: &String| {
        raw.clients.is_empty() || name == DEFAULT_PURPOSE || raw.clients.values().any(|one| one.purposes.contains(name))
    };
    for name in raw.purposes.keys().filter(|name| !known(name)) {
        read.mistake(format!("purposes.{name}"), "is no client's purpose; correct the name, or add it to a client");
    }
}

fn check_orders(raw: &Raw, read: &mut Read) {
    if raw.chain.order.is_empty() {
        read.mistake(
            "chain.order",
            "is empty, so nobody would be asked; write [\"NAME\"] of a [providers.NAME] section",
        );
    }
    let of_purposes = raw
        .purposes
        .iter()
        .filter_map(|(name, purpose)| Some((format!("purposes.{name}.order"), purpose.order.as_ref()?)));
    for (key, order) in std::iter::once(("chain.order".to_owned(), &raw.chain.order)).chain(of_purposes) {
        let mut seen = BTreeSet::new();
        for name in order {
            if !raw.providers.contains_key(name) {
                read.mistake(&key, format!("names {name}, which has no section [providers.{name}]"));
            } else if !seen.insert(name) {
                read.mistake(&key, format!("names {name} twice; a provider is asked once"));
            }
        }
    }
    if raw.chain.budget.is_zero() {
        read.mistake("chain.budget", "is zero, so no attempt could begin; write \"8s\"");
    }
}

fn regions(section: &RegionsSection, sections: &mut Sections, read: &mut Read) -> Option<Regions> {
    let parsed = match &section.file {
        None => Regions::embedded().map_err(|error| error.to_string()),
        Some(path) => read
            .files
            .read_text(path)
            .inspect(|text| sections.with_file("regions", text.as_bytes()))
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
            .and_then(|text| Regions::parse(&text).map_err(|error| format!("{}: {error}", path.display()))),
    };
    parsed.map_err(|problem| read.mistake("regions.file", problem)).ok()
}
