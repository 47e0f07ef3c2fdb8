//! `[providers.NAME]`: the keys common to all providers are read here, the rest by the driver. A new driver needs no
//! change here.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::ValueKind;

use super::provider_section::{PriceYuan, Section};
use super::secret::{CREDENTIALS, NEXT, PROXY_LOGIN, driver_of};
use super::{outbound, quotes};
use crate::app::config::change::Sections;
use crate::app::config::draft::section;
use crate::app::config::draft::{Draft, Tree};
use crate::app::config::suggest;
use crate::domain::money::{MicroYuan, Prices, Tariff};
use crate::domain::personal::Secret;
use crate::providers::{self, Configured, DRIVERS, Driver, Endpoint, Settings};
use crate::verify::ProviderConfig;
use crate::verify::billing::Package;

/// The keys of every provider; all others belong to the driver.
const COMMON: [&str; 16] = [
    "driver",
    "endpoints",
    "connect_timeout",
    "attempt_timeout",
    "call_limit",
    "max_concurrency",
    "rate_limit",
    "price_yuan",
    "budget",
    "packages",
    "ca_file",
    "roots",
    "pinned_sha256",
    "proxy",
    "ip",
    "idle_timeout",
];

/// The driver settings of each provider.
pub(in crate::app::config) type DriverSettings = BTreeMap<String, Own>;

/// The driver-specific settings of one provider.
#[derive(Debug, Default)]
pub(in crate::app::config) struct Own {
    settings: Settings,
    /// The same with the replacement credential.
    next: Option<Settings>,
}

/// Moves the settings that belong to drivers out of the tree.
pub(in crate::app::config) fn split(read: &mut Draft, environment: &BTreeMap<String, String>) -> DriverSettings {
    let mut all = DriverSettings::new();
    let mut mistakes = Vec::new();
    for (name, provider) in section(&mut read.tree, "providers").into_iter().flatten() {
        let ValueKind::Table(table) = &mut provider.kind else { continue };
        // Only the driver knows which keys exist; a missing driver is reported first.
        let driver = driver_of(table);
        let at = format!("providers.{name}");
        let (next, credentials) = (table.remove(NEXT), table.remove(CREDENTIALS));
        let secrets = |at: &str| -> BTreeMap<String, Secret> {
            let own =
                |key: &str| Some(key.strip_prefix(at)?.strip_prefix('.')?.to_owned()).filter(|key| !key.contains('.'));
            let own = read.secrets.iter().filter_map(|(key, secret)| Some((own(key)?, secret.clone())));
            own.filter(|(key, _)| key != PROXY_LOGIN).collect()
        };
        let plain = |at: &str, table: &mut Tree, mistakes: &mut Vec<(String, String)>| {
            let own: Vec<String> = table.keys().filter(|key| !COMMON.contains(&key.as_str())).cloned().collect();
            let mut plain = BTreeMap::new();
            for (key, value) in own.into_iter().filter_map(|key| table.remove_entry(&key)) {
                let Some(driver) = driver else {
                    // A driver's own keys cannot be judged without it, but a misspelt common one can.
                    let is_own = DRIVERS.iter().any(|driver| driver.keys().any(|known| known == key));
                    if at.matches('.').count() == 1 && !is_own && !suggest::hint(&key, COMMON).is_empty() {
                        mistakes.push((format!("{at}.{key}"), suggest::unknown_key(&key, &COMMON, None)));
                    }
                    continue;
                };
                match value.kind {
                    // The keys of `credentials` depend on its kind, which only the driver knows.
                    _ if !at.ends_with(CREDENTIALS) && driver.keys().all(|known| known != key) => {
                        let known: Vec<_> = if at.ends_with(NEXT) { driver.keys().collect() } else { all_keys(driver) };
                        mistakes.push((format!("{at}.{key}"), suggest::unknown_key(&key, &known, None)));
                    }
                    ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => {
                        mistakes.push((format!("{at}.{key}"), "has the wrong type; write a text in quotes".to_owned()));
                    }
                    _ => drop(plain.insert(key, value.into_string().unwrap_or_default())),
                }
            }
            plain
        };
        let variables = driver.map_or(&[][..], |driver| driver.variables).iter();
        // They are read only where a credential is looked for.
        if credentials.is_some() {
            let is_quoted = |name: &&&str| environment.get(**name).is_some_and(|value| quotes::is_quoted(value));
            mistakes.extend(
                variables.clone().filter(is_quoted).map(|name| ((*name).to_owned(), quotes::PROBLEM.to_owned())),
            );
        }
        let variables = variables
            .filter_map(|name| Some(((*name).to_owned(), Secret::new(environment.get(*name)?.as_str()))))
            .collect();
        let mut settings = Settings { plain: plain(&at, table, &mut mistakes), secret: secrets(&at), variables };
        let at_credentials = format!("{at}.{CREDENTIALS}");
        match credentials.map(|credentials| credentials.kind) {
            None => {}
            Some(_) if driver.is_some_and(|driver| driver.keys().all(|key| key != CREDENTIALS)) => {
                let known = driver.map(all_keys).unwrap_or_default();
                mistakes.push((at_credentials, suggest::unknown_key(CREDENTIALS, &known, None)));
            }
            Some(ValueKind::Table(mut table)) => {
                let of_table = plain(&at_credentials, &mut table, &mut mistakes);
                let inner = |key: String| format!("{CREDENTIALS}.{key}");
                settings.plain.extend(of_table.into_iter().map(|(key, value)| (inner(key), value)));
                settings.secret.extend(secrets(&at_credentials).into_iter().map(|(key, value)| (inner(key), value)));
            }
            Some(_) => {
                mistakes.push((at_credentials, "must be a table; write { kind = \"default_chain\" }".to_owned()));
            }
        }
        let at_next = format!("{at}.{NEXT}");
        let next = match next.map(|next| next.kind) {
            None => None,
            Some(ValueKind::Table(mut table)) => {
                // Both credentials share all settings except the key id, which must be given again.
                let mut of_both = settings.plain.clone();
                of_both.retain(|key, _| !driver.is_some_and(|driver| driver.is_public_id(key)) && !key.contains('.'));
                of_both.extend(plain(&at_next, &mut table, &mut mistakes));
                Some(Settings { plain: of_both, secret: secrets(&at_next), variables: BTreeMap::new() })
            }
            Some(_) => {
                mistakes.push((
                    at_next,
                    "must be a table with the secrets that follow; write { KEY = { file = \"PATH\" } }".to_owned(),
                ));
                None
            }
        };
        all.insert(name.clone(), Own { settings, next });
    }
    for (key, problem) in mistakes {
        read.mistake(key, problem);
    }
    all
}

/// The keys that a provider with this driver may have.
fn all_keys(driver: &Driver) -> Vec<&'static str> {
    COMMON.into_iter().chain([PROXY_LOGIN, NEXT]).chain(driver.keys()).collect()
}

/// Checks one provider.
pub(in crate::app::config) fn finish(
    name: &str,
    section: &Section,
    own: &Own,
    sections: &mut Sections,
    read: &mut Draft,
) -> Option<ProviderConfig> {
    let at = format!("providers.{name}");
    read.check_name(&at, name);
    let driver = section.driver.as_deref().and_then(providers::driver);
    if driver.is_none() {
        let known: Vec<_> = DRIVERS.iter().map(|driver| driver.name).collect();
        let hint = section.driver.as_deref().map(|name| suggest::hint(name, known.iter().copied()));
        let problem = format!("must be one of: {}{}", known.join(", "), hint.unwrap_or_default());
        read.mistake(format!("{at}.driver"), problem);
    }
    let endpoints = endpoints(&at, &section.endpoints, read);
    let outbound = outbound::finish(&at, section, &endpoints, sections, read);
    for (key, problem) in section.mistakes() {
        read.mistake(format!("{at}.{key}"), problem);
    }
    let driver = driver?;
    let prices = match section.price_yuan.as_ref().map(PriceYuan::read) {
        None => driver.prices,
        Some(Ok(prices)) => prices,
        Some(Err((key, problem))) => {
            read.mistake(format!("{at}.price_yuan.{key}"), problem);
            driver.prices
        }
    };
    let dearest = section.packages.iter().filter_map(Package::dearest_call).max();
    let dearest = dearest.or_else(|| (!section.packages.is_empty()).then_some(MicroYuan(0)));
    let prices = Tariff::new(prices, driver.prices, dearest);
    let budget = super::money::limits(&at, section.budget.as_ref(), read);
    super::money::check_packages(&at, &section.packages, read);
    let next = match &own.next {
        None => Some(None),
        Some(next) => configure(driver, next, &format!("{at}.{NEXT}"), read).map(|next| next.access.given().cloned()),
    };
    let configured = configure(driver, &own.settings, &at, read);
    if own.next.is_some() && configured.as_ref().is_some_and(|configured| configured.access.given().is_none()) {
        let problem = "has no use beside credentials, which are renewed by themselves; remove one or the other";
        read.mistake(format!("{at}.{NEXT}"), problem);
    }
    Some(ProviderConfig {
        name: Arc::from(name),
        driver,
        configured: configured?,
        next: next?,
        endpoints,
        outbound,
        attempt_timeout: section.attempt_timeout,
        call_limit: section.call_limit,
        max_concurrency: section.max_concurrency,
        rate_limit: section.rate_limit,
        prices,
        budget,
        packages: section.packages.clone(),
    })
}

/// Passes its settings to the driver, and reports its mistakes.
fn configure(driver: &Driver, settings: &Settings, at: &str, read: &mut Draft) -> Option<Configured> {
    // A secret that could not be read was reported already; the driver must not report it as missing too.
    let reported: Vec<String> = read.mistakes.iter().map(|mistake| mistake.key.clone()).collect();
    let configured = (driver.configure)(settings).map_err(|mistakes| {
        let fresh = mistakes.into_iter().filter(|(key, _)| !reported.contains(&format!("{at}.{key}")));
        read.section(at, fresh);
    });
    configured.ok()
}

fn endpoints(at: &str, texts: &[String], read: &mut Draft) -> Vec<Endpoint> {
    if texts.is_empty() {
        read.mistake(format!("{at}.endpoints"), "is empty; write [\"https://host\"]");
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match Endpoint::parse(text) {
            Ok(endpoint) if endpoints.contains(&endpoint) => {
                read.mistake(format!("{at}.endpoints[{index}]"), "is listed twice; remove one");
            }
            Ok(endpoint) => endpoints.push(endpoint),
            Err(problem) => read.mistake(format!("{at}.endpoints[{index}]"), problem),
        }
    }
    endpoints
}

impl PriceYuan {
    fn read(&self) -> Result<Prices, (&'static str, String)> {
        let amount = |key: &'static str, text: &str| {
            MicroYuan::parse(text)
                .ok_or_else(|| (key, "is not an amount in yuan; write for example \"0.033\"".to_owned()))
        };
        Ok(Prices {
            on_match: amount("match", &self.r#match)?,
            on_mismatch: amount("mismatch", &self.mismatch)?,
            on_no_record: amount("no_record", &self.no_record)?,
        })
    }
}
