//! Checks of budgets and prepaid packages.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::app::config::draft::Draft;
use crate::resilience::spending::Limits;
use crate::verify::billing::{Budget, Package};

/// Ids are metric labels and appear in logs.
const LONGEST_ID: usize = 64;

/// The limits of a budget, if there is one.
pub(in crate::app::config) fn limits(at: &str, budget: Option<&Budget>, read: &mut Draft) -> Limits {
    let limits = budget.map_or(Ok(Limits::default()), Budget::limits);
    limits.unwrap_or_else(|mistakes| {
        read.section(&format!("{at}.budget"), mistakes);
        Limits::default()
    })
}

/// Checks the packages of one provider.
pub(in crate::app::config) fn check_packages(at: &str, packages: &[Package], read: &mut Draft) {
    let mut ids = BTreeSet::new();
    for (index, package) in packages.iter().enumerate() {
        let at = format!("{at}.packages[{index}]");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=LONGEST_ID).contains(&package.id.len()) || !package.id.bytes().all(plain) {
            read.mistake(
                format!("{at}.id"),
                "must have 1 to 64 letters, digits, \"-\", \"_\" or \".\"; write \"2026-11\"",
            );
        }
        if !ids.insert(&package.id) {
            read.mistake(format!("{at}.id"), "is the id of another package of this provider; give it one of its own");
        }
        if !package.has_readable_price() {
            let problem = "is not an amount in yuan; write what the whole package cost, for example \"100.00\"";
            read.mistake(format!("{at}.price_yuan"), problem);
        }
        if package.ends < package.bought {
            read.mistake(format!("{at}.ends"), "is before bought; write the last day on which it can be used");
        }
    }
}

/// Budgets and packages need a ledger that keeps its entries for the whole lifetime of a package.
pub(in crate::app::config) fn check_ledger(
    clients: impl Iterator<Item = String>,
    providers: &[(String, Option<&'static str>, &[Package])],
    (has_file, keep): (bool, Option<Duration>),
    read: &mut Draft,
) {
    let counted = providers.iter().filter_map(|(at, key, _)| key.map(|key| format!("{at}.{key}")));
    for key in clients.chain(counted).filter(|_| !has_file) {
        let problem = "needs the ledger, which counts what was spent across restarts; write a path into ledger.file, \
                       or \
                       remove this";
        read.mistake(key, problem);
    }
    for (at, _, packages) in providers {
        for (index, package) in packages.iter().enumerate() {
            let lives = Duration::try_from(package.ends.duration_since(package.bought)).unwrap_or_default();
            if keep.is_some_and(|keep| lives > keep) {
                let problem = "is further from `bought` than the ledger keeps entries, so calls would be lost from \
                               the count; write a \
                               longer ledger.keep";
                read.mistake(format!("{at}.packages[{index}].ends"), problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::app::config::Sources;

    /// The keys of all mistakes, for a provider whose section contains `inner`, with the additional sections `other`.
    fn keys(inner: &str, other: &str) -> Vec<String> {
        let driver = crate::providers::DRIVERS.iter().find(|driver| driver.is_secret("app_code")).unwrap();
        let toml = format!(
            "[chain]\norder = [\"one\"]\n[providers.one]\ndriver = \"{}\"\nendpoints = [\"https://one.example\"]\n\
             app_code = {{ value = \"synthetic\" }}\n{inner}\n{other}",
            driver.name
        );
        let mistakes = Sources::text(toml).load().err().map(|mistakes| mistakes.0).unwrap_or_default();
        mistakes.into_iter().map(|mistake| mistake.key).collect()
    }

    const LEDGER: &str =
        "[ledger]\nfile = \"ledger.db\"\n[cache]\ndigest_key = { value = \"0123456789abcdef0123456789abcdef\" }";

    #[test]
    fn a_budget_has_amounts_above_zero_and_a_ledger() {
        let budget = "[providers.one.budget]\ncalls_per_day = 1\nyuan_per_month = \"0.50\"";
        assert_eq!(keys(budget, LEDGER), [""; 0]);
        assert_eq!(keys(budget, ""), ["providers.one.budget"]);
        let wrong = "[providers.one.budget]\nyuan_per_day = \"0\"\nyuan_per_month = \"1,5\"";
        let expected = ["providers.one.budget.yuan_per_day", "providers.one.budget.yuan_per_month"];
        assert_eq!(keys(wrong, LEDGER), expected);
        let client = "[clients.c]\n[clients.c.budget]\nyuan_per_day = \"x\"";
        assert!(keys(client, LEDGER).contains(&"clients.c.budget.yuan_per_day".to_owned()));
        assert!(keys(client, "").contains(&"clients.c.budget".to_owned()));
        assert_eq!(keys("[providers.one.budget]\ncalls_per_day = 0", LEDGER).len(), 1);
    }

    #[test]
    fn packages_have_ids_of_their_own_end_after_they_were_bought_and_are_counted_for_as_long() {
        let package = |id: &str, bought: &str, ends: &str| {
            format!("[[providers.one.packages]]\nid = \"{id}\"\ncalls = 10\nbought = \"{bought}\"\nends = {ends}\n")
        };
        assert_eq!(keys(&package("a", "2026-01-01", "2026-01-01"), LEDGER), [""; 0], "a package for one day");
        let good = package("a", "2026-01-01", "2026-12-31");
        assert_eq!(keys(&good, LEDGER), [""; 0]);
        assert_eq!(keys(&good, ""), ["providers.one.packages"]);
        let priced = |price: &str| good.clone() + &format!("price_yuan = {price}\n");
        assert_eq!(keys(&priced("\"0\""), LEDGER), [""; 0], "a free package");
        assert_eq!(keys(&priced("\"4 fen\""), LEDGER), ["providers.one.packages[0].price_yuan"]);
        let several = good.clone()
            + &package("a", "2026-01-02", "\"2026-01-01\"")
            + &package("b c", "2025-01-01", "\"2027-01-01\"");
        let expected = ["packages[1].ends", "packages[1].id", "packages[2].ends", "packages[2].id"];
        assert_eq!(keys(&several, LEDGER), expected.map(|key| format!("providers.one.{key}")));
    }
}
