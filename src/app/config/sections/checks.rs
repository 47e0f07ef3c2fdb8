//! Validation within a section and between two sections. Each mistake includes the remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::money;
use crate::app::config::draft::Draft;
use crate::app::config::raw::{HASH_OF_NOTHING, Log, Raw};
use crate::app::config::suggest;
use crate::server::auth::client_config::{ClientConfig, DEFAULT_PURPOSE};
use crate::server::auth::key_config::KeyConfig;
use crate::server::auth::operators::OperatorConfig;

/// The maximum of all timeouts. Much longer ones would overflow the clock.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

pub(in crate::app::config) fn server(raw: &Raw, read: &mut Draft) {
    let server = &raw.server;
    if raw.clients.is_empty() && !server.listen.ip().is_loopback() {
        let problem = "is not a loopback address, and no client is configured, so anybody could use the API; add a \
                       [clients.NAME] section (`idgate key new NAME`) or write \"127.0.0.1:8080\"";
        read.mistake("server.listen", problem);
    }
    if raw.operators.is_empty() && !server.admin_listen.ip().is_loopback() {
        let problem = "is not a loopback address, and no operator is configured, so anybody could use it; add an \
                       [operators.NAME] section (`idgate key new --operator NAME`) or write \"127.0.0.1:9464\"";
        read.mistake("server.admin_listen", problem);
    }
    for (index, host) in server.hosts.iter().enumerate() {
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if host.is_empty() || !is_name {
            let problem = "is not a host name; write it without scheme, port and path, such as \"idgate.example.com\"";
            read.mistake(format!("server.hosts[{index}]"), problem);
        }
    }
    let [one, other] = [server.listen, server.admin_listen];
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    if one.port() == other.port() && one.port() != 0 && overlap {
        let problem = "has the port of server.listen, and only one of them could be bound; write another port, such as \
                       9464";
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
        read.mistake(key, "is longer than a day; write some seconds, such as \"8s\"");
    }
    if server.max_body_bytes < 256 {
        read.mistake("server.max_body_bytes", "is too small for a question; write 16384");
    }
    if server.max_in_flight == 0 {
        read.mistake("server.max_in_flight", "is 0, so every request would be refused; write 10000");
    }
    read.section("server.connections", server.connections.validate());
}

/// Whether the level is a filter that lets something of idgate through. A misspelt one would be taken for the name of a
/// crate, and then every line is lost.
pub(in crate::app::config) fn is_level_or_filter(log: &Log) -> bool {
    let is_level = |word: &str| word.parse::<tracing::level_filters::LevelFilter>().is_ok() && !word.is_empty();
    let is_ours = |target: &str| target == "idgate" || target.starts_with("idgate::");
    let directives = || log.level.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let bare = |directive: &&str| !directive.contains('=');
    // Nothing can be chosen by spans or fields: what names one would match nothing.
    log.filter().is_ok()
        && !log.level.contains('[')
        && directives().filter(bare).all(|word| is_level(word) || is_ours(word))
        && directives().any(|one| is_level(one) || is_ours(one.split('=').next().unwrap_or_default().trim()))
}

pub(in crate::app::config) fn clients(clients: &BTreeMap<String, ClientConfig>, read: &mut Draft) {
    for (name, client) in clients {
        let at = format!("clients.{name}");
        read.check_name(&at, name);
        read.section(&at, client.validate());
    }
    let all = clients.iter().map(|(name, client)| (format!("clients.{name}"), &*client.keys));
    keys(all, "idgate key new NAME", read);
}

pub(in crate::app::config) fn operators(operators: &BTreeMap<String, OperatorConfig>, read: &mut Draft) {
    for (name, operator) in operators {
        let at = format!("operators.{name}");
        read.check_name(&at, name);
        read.section(&at, operator.validate());
    }
    let all = operators.iter().map(|(name, operator)| (format!("operators.{name}"), &*operator.keys));
    keys(all, "idgate key new --operator NAME", read);
}

/// The questions of the console belong to a client.
pub(in crate::app::config) fn console(raw: &Raw, read: &mut Draft) {
    read.section("console", raw.console.validate());
    if let Some(client) = raw.console.client.as_ref().filter(|client| !raw.clients.contains_key(*client)) {
        let problem = format!("is \"{client}\", which has no section; add [clients.{client}], or leave it out");
        read.mistake("console.client", problem);
    }
}

/// Budgets and packages need the ledger, which counts the calls.
pub(in crate::app::config) fn money(raw: &Raw, read: &mut Draft) {
    let clients = raw.clients.iter().filter(|(_, client)| client.budget.is_some());
    let clients = clients.map(|(name, _)| format!("clients.{name}.budget"));
    let providers = raw.providers.iter();
    let providers: Vec<_> = providers
        .map(|(name, section)| (format!("providers.{name}"), section.counts_money(), section.packages()))
        .collect();
    money::check_ledger(clients, &providers, (raw.ledger.is_on(), raw.ledger.keep()), read);
}

/// Each key must belong to one client or operator only.
fn keys<'a>(all: impl Iterator<Item = (String, &'a [KeyConfig])>, command: &str, read: &mut Draft) {
    let mut hashes = BTreeMap::new();
    for (at, keys) in all {
        for (index, key) in keys.iter().enumerate() {
            if key.sha256.eq_ignore_ascii_case(HASH_OF_NOTHING) {
                let problem = format!(
                    "is the SHA-256 of an empty text, so requests without a key would be accepted; make a key with \
                     `{command}`"
                );
                read.mistake(format!("{at}.keys[{index}].sha256"), problem);
            }
            if let Some(other) = hashes.insert(key.sha256.to_ascii_lowercase(), format!("{at}.keys[{index}]")) {
                read.mistake(format!("{at}.keys[{index}]"), format!("is the same key as {other}; make a new one"));
            }
        }
    }
}

/// Without this check, a misspelt purpose would silently have no effect.
pub(in crate::app::config) fn purposes(raw: &Raw, read: &mut Draft) {
    let known = |name: &String| {
        raw.clients.is_empty() || name == DEFAULT_PURPOSE || raw.clients.values().any(|one| one.purposes.contains(name))
    };
    for name in raw.purposes.keys().filter(|name| !known(name)) {
        let all = raw.clients.values().flat_map(|client| client.purposes.iter().map(String::as_str));
        let hint = suggest::hint(name, all);
        let problem = format!("is not a purpose of any client{hint}; correct the name, or add it to a client");
        read.mistake(format!("purposes.{name}"), problem);
    }
}

pub(in crate::app::config) fn orders(raw: &Raw, read: &mut Draft) {
    if raw.chain.order.is_empty() {
        read.mistake(
            "chain.order",
            "is empty, so no provider would be asked; write [\"NAME\"] of a [providers.NAME] section",
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
                let hint = suggest::hint(name, raw.providers.keys().map(String::as_str));
                let problem =
                    format!("names {name}, which has no section [providers.{name}]{hint}; add it, or correct the name");
                read.mistake(&key, problem);
            } else if !seen.insert(name) {
                read.mistake(&key, format!("names {name} twice; remove one of them"));
            }
        }
    }
    if raw.chain.budget.is_zero() {
        read.mistake("chain.budget", "is zero, so no attempt could begin; write \"8s\"");
    }
}
