//! All validated sections, and the checks between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::Sections;
use super::draft::Draft;
use super::mistakes::{Mistake, Mistakes};
use super::profile::Profile;
use super::raw::{CalendarWord, Log, Raw, RegionsSection, Reload, Server};
use super::sections::provider::{self, DriverSettings};
use super::sections::provider_section::Section;
use super::sections::replica::{self, Replica};
use super::sections::secret::{ADMIN_TLS_KEY, DIGEST_KEY, TLS_KEY};
use super::sections::{checks, issued, ledger, money, receipts, shared, tls, traces};
use crate::domain::id_number::Calendar;
use crate::domain::personal::Secret;
use crate::domain::region::Regions;
use crate::domain::subject::PairRules;
use crate::server::auth::client_config::{ANONYMOUS, ClientConfig, DEFAULT_PURPOSE};
use crate::server::auth::issued_keys::Issued;
use crate::server::auth::operators::OperatorConfig;
use crate::server::records::receipt;
use crate::server::{compat, console, listener, snapshot};
use crate::storage;
use crate::verify::{self};

/// A listener that serves plain HTTP to other machines.
#[derive(Debug, Clone, Copy)]
pub struct PlainListener {
    pub key: &'static str,
    /// The section that would give it TLS.
    pub section: &'static str,
    pub address: SocketAddr,
}

/// A complete, validated configuration.
#[derive(Debug)]
pub struct Settings {
    /// Digests of the sections, to compare with a later configuration.
    pub sections: Sections,
    pub profile: Profile,
    pub server: Server,
    /// Section `[server.tls]`, with its files loaded.
    pub tls: Option<listener::Tls>,
    /// Section `[server.admin_tls]`, with its files loaded.
    pub admin_tls: Option<listener::Tls>,
    pub log: Log,
    /// Section `[tracing]`, if anything is traced.
    pub tracing: Option<traces::Tracing>,
    pub reload: Reload,
    pub rules: snapshot::Rules,
    /// Region names, embedded or from the configured file.
    pub regions: Regions,
    pub clients: BTreeMap<String, ClientConfig>,
    /// The keys of callers that use a provider's protocol.
    pub issued: Vec<Issued>,
    pub compat: compat::Config,
    pub console: console::Config,
    pub operators: BTreeMap<String, OperatorConfig>,
    /// All configured purposes.
    pub purposes: Vec<String>,
    pub cache: storage::Config,
    pub ledger: storage::ledger::Config,
    /// Sections `[shared]` and `[replica]`, if anything is shared.
    pub shared: Option<storage::shared::Config>,
    pub replica: Replica,
    /// Section `[receipts]`, with its keys loaded.
    pub receipts: receipt::keys::Keys,
    /// The key of all digests of persons, if one is configured.
    pub digest_key: Option<Secret>,
    pub verify: verify::Config,
}

impl Settings {
    /// Whether replicas share Redis and each has a ledger of its own.
    pub(in crate::app) fn lacks_a_common_record(&self) -> bool {
        self.shared.is_some() && self.ledger.postgres.is_none()
    }

    /// The listeners that serve plain HTTP to other machines, which production allows behind a trusted proxy only.
    pub fn plain_listeners(&self) -> impl Iterator<Item = PlainListener> {
        let server = &self.server;
        let listener = |key, section, address| PlainListener { key, section, address };
        let public = listener("server.listen", "server.tls", server.listen);
        let admin = listener("server.admin_listen", "server.admin_tls", server.admin_listen);
        let plain = [public, admin].into_iter().zip([server.tls.is_none(), server.admin_tls.is_none()]);
        plain.filter_map(|(one, is_plain)| (is_plain && !one.address.ip().is_loopback()).then_some(one))
    }

    /// Checks that the files which `serve` opens for writing have a folder on this machine.
    ///
    /// # Errors
    /// One mistake for each missing folder.
    pub fn check_folders(&self) -> Result<(), Mistakes> {
        let folder_of = |path: &Path| match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
            folder => folder.unwrap_or(path).to_path_buf(),
        };
        let folders = [
            ("ledger.file", self.ledger.file.as_deref().map(folder_of)),
            ("ledger.spool_folder", self.ledger.spool_folder.clone()),
            ("log.file", self.log.file.as_deref().map(folder_of)),
        ];
        let missing = folders.into_iter().filter_map(|(key, folder)| {
            let folder = folder.filter(|folder| !folder.is_dir())?;
            let folder = folder.display();
            let problem = format!("the folder {folder} does not exist; `mkdir -p {folder}`, or correct the path");
            Some(Mistake::new(key, problem))
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err(Mistakes(missing)) }
    }
}

/// Validates each section and the relations between sections, and reads the files they name.
pub(super) fn finish(
    raw: Raw,
    mut drivers: DriverSettings,
    mut sections: Sections,
    read: &mut Draft,
) -> Option<Settings> {
    checks::server(&raw, read);
    checks::clients(&raw.clients, read);
    let issued = issued::finish(&raw.compat, &raw.clients, read);
    checks::operators(&raw.operators, read);
    checks::console(&raw, read);
    tls::check_certificates(&raw.server, &raw.clients, &raw.operators, read);
    let public_tls = tls::finish(("server.tls", TLS_KEY), raw.server.tls.as_ref(), &mut sections, read);
    let admin_tls =
        tls::finish(("server.admin_tls", ADMIN_TLS_KEY), raw.server.admin_tls.as_ref(), &mut sections, read);
    read.section("cache", raw.cache.validate());
    read.section("ledger", raw.ledger.validate());
    replica::check(&raw.replica, read);
    let ledger = ledger::finish(&raw, read);
    let is_reported = read.mistakes.iter().any(|mistake| mistake.key == DIGEST_KEY);
    if raw.ledger.is_on() && !read.secrets.contains_key(DIGEST_KEY) && !is_reported {
        let problem = "is missing, so a person in the ledger could not be found after a restart; write { file = \"PATH\" } \
                       of a permanent secret (`openssl rand -hex 32` makes one)";
        read.mistake(DIGEST_KEY, problem);
    }
    let receipts = receipts::finish(&raw.receipts, raw.ledger.is_on(), &mut sections, read);
    let shared = shared::finish(&raw, &mut sections, read);
    let tracing = traces::finish(&raw.tracing, read);
    read.section("holds", raw.holds.validate());
    read.section("enumeration", raw.enumeration.validate());
    read.section("breaker", raw.breaker.validate());
    read.section("account", raw.account.validate());
    read.section("dns", raw.dns.validate());
    checks::orders(&raw, read);
    checks::purposes(&raw, read);
    if !checks::is_level_or_filter(&raw.log) {
        let problem = "is not a level, or silences idgate itself; write \"error\", \"warn\", \"info\" or \"debug\", or \
                       a filter that begins with one of them, such as \"info,idgate::verify=debug\"";
        read.mistake("log.level", problem);
    }
    let longest_call = raw.providers.values().map(Section::call_limit).max().unwrap_or_default();
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
    checks::money(&raw, read);
    let clients = match raw.clients.is_empty() {
        true => vec![Arc::from(ANONYMOUS)],
        false => raw.clients.keys().map(|name| Arc::from(&**name)).collect(),
    };
    let weights = raw.clients.iter().map(|(name, client)| (Arc::from(&**name), client.weight)).collect();
    let purposes: BTreeSet<String> = std::iter::once(DEFAULT_PURPOSE.to_owned())
        .chain(raw.purposes.keys().cloned())
        .chain(raw.clients.values().flat_map(|client| client.purposes.clone()))
        .collect();
    let askers = match raw.clients.is_empty() {
        true => purposes.iter().map(|purpose| (Arc::from(ANONYMOUS), Arc::from(&**purpose))).collect(),
        false => {
            let of = |(name, client): (&String, &ClientConfig)| -> Vec<_> {
                client.purposes.iter().map(|purpose| (Arc::from(&**name), Arc::from(&**purpose))).collect()
            };
            raw.clients.iter().flat_map(of).collect()
        }
    };
    Some(Settings {
        sections,
        profile: raw.profile,
        reload: raw.reload,
        rules: snapshot::Rules {
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
        console: raw.console,
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
            weights,
            askers,
            budgets,
            extra_attempts_per_minute: raw.budget.extra_attempts_per_minute,
            sharing: raw.cache.sharing,
            dns: raw.dns,
        },
        cache: raw.cache,
        ledger,
        shared,
        replica: raw.replica,
        server: raw.server,
        tls: public_tls,
        admin_tls,
        log: raw.log,
        tracing,
    })
}

fn regions(section: &RegionsSection, sections: &mut Sections, read: &mut Draft) -> Option<Regions> {
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
