//! Validation within a section and between two sections. Each mistake includes the remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::money;
use crate::app::config::draft::Draft;
use crate::app::config::raw::{HASH_OF_NOTHING, Raw};
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

pub(in crate::app::config) fn clients(clients: &BTreeMap<String, ClientConfig>, read: &mut Draft) {
    for (name, client) in clients {
        let at = format!("clients.{name}");
        read.check_name(&at, name);
        read.section(&at, client.validate());
    }
    keys(clients.iter().map(|(name, client)| (format!("clients.{name}"), &*client.keys)), read);
}

pub(in crate::app::config) fn operators(operators: &BTreeMap<String, OperatorConfig>, read: &mut Draft) {
    for (name, operator) in operators {
        let at = format!("operators.{name}");
        read.check_name(&at, name);
        read.section(&at, operator.validate());
    }
    keys(operators.iter().map(|(name, operator)| (format!("operators.{name}"), &*operator.keys)), read);
}

/// Budgets and packages need the ledger, which counts the calls.
pub(in crate::app::config) fn money(raw: &Raw, read: &mut Draft) {
    let clients = raw.clients.iter().filter(|(_, client)| client.budget.is_some());
    let clients = clients.map(|(name, _)| format!("clients.{name}.budget"));
    let providers = raw.providers.iter();
    let providers: Vec<_> = providers
        .map(|(name, section)| (format!("providers.{name}"), section.counts_money(), section.packages()))
        .collect();
    money::check_ledger(clients, &providers, (raw.ledger.file.is_some(), raw.ledger.keep()), read);
}

/// Each key must belong to one client or operator only.
fn keys<'a>(all: impl Iterator<Item = (String, &'a [KeyConfig])>, read: &mut Draft) {
    let mut hashes = BTreeMap::new();
    for (at, keys) in all {
        for (index, key) in keys.iter().enumerate() {
            if key.sha256.eq_ignore_ascii_case(HASH_OF_NOTHING) {
                let problem = "is the SHA-256 of an empty text, so requests without a key would be accepted; make a \
                               key with \
                               `idgate key new CLIENT`";
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
        read.mistake(
            format!("purposes.{name}"),
            "is not a purpose of any client; correct the name, or add it to a client",
        );
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
                read.mistake(&key, format!("names {name}, which has no section [providers.{name}]"));
            } else if !seen.insert(name) {
                read.mistake(&key, format!("names {name} twice; remove one of them"));
            }
        }
    }
    if raw.chain.budget.is_zero() {
        read.mistake("chain.budget", "is zero, so no attempt could begin; write \"8s\"");
    }
}
