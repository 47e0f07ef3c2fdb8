//! What needs attention now, each with the next step.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::proto::{MetricFamily, MetricType};

use super::shown::{Tone, lasting, words};
use super::state::Console;
use crate::domain::outcome::Reason;
use crate::server::snapshot::Snapshot;
use crate::verify::ProviderStatus;

/// What ends within this time is told.
const SOON: i64 = 14 * 24 * 60 * 60;

/// One thing to look at.
pub(super) struct Matter {
    pub(super) tone: Tone,
    pub(super) what: String,
    pub(super) next: String,
    /// The page where it is done or seen.
    pub(super) page: &'static str,
}

/// Everything, the worst first.
pub(super) fn matters(console: &Console, now: &Snapshot, families: &[MetricFamily]) -> Vec<Matter> {
    let mut all: Vec<_> = now.runtime.status().iter().flat_map(of_provider).collect();
    all.extend(of_ledger(console));
    all.extend(of_ends(console.pipeline.clock.wall(), families));
    if console.pipeline.shared.state().is_some_and(|state| !state.is_up) {
        let next = "Look at the shared Redis; until it is back, every limit is this replica’s own.";
        all.push(matter(Tone::Warn, "Redis does not answer".to_owned(), next, "/console/"));
    }
    all.sort_by_key(|matter| matter.tone != Tone::Bad);
    all
}

fn matter(tone: Tone, what: String, next: &str, page: &'static str) -> Matter {
    Matter { tone, what, next: next.to_owned(), page }
}

fn of_provider(status: &ProviderStatus) -> Vec<Matter> {
    let (name, page) = (&status.name, "/console/providers");
    let mut all = Vec::new();
    if let Some(isolated) = &status.isolated {
        let what = format!("{name} is isolated by {}", isolated.by);
        all.push(matter(Tone::Warn, what, "Restore it when it is well again.", page));
    }
    if let Some(fault) = status.account_fault {
        let what = format!("{name}: account fault “{}” for {}", words(fault.reason.as_str()), lasting(fault.since));
        let next = account_fault(fault.reason);
        all.push(matter(Tone::Bad, what, next, page));
    }
    for endpoint in &status.endpoints {
        if endpoint.state.as_str() != "closed" {
            let why = endpoint.reason.map(|reason| words(reason.as_str())).unwrap_or_default();
            let what =
                format!("{name}: breaker of {} is {} ({why})", endpoint.endpoint, words(endpoint.state.as_str()));
            let next = "It probes by itself. Look at the last fault; isolate the provider if it does harm.";
            all.push(matter(Tone::Bad, what, next, page));
        }
    }
    if status.credential.as_ref().is_some_and(|credential| !credential.misses.is_empty()) {
        let what = format!("{name}: the next credential cannot be fetched");
        all.push(matter(Tone::Warn, what, "Look at its source before the one in use ends.", page));
    }
    all
}

/// The next step for an account fault.
pub(super) const fn account_fault(reason: Reason) -> &'static str {
    match reason {
        Reason::Arrears => "Pay the bill at the provider; it is tried again by itself.",
        Reason::QuotaUsedUp => "Buy a package at the provider; it is tried again by itself.",
        Reason::SubscriptionExpired | Reason::NotActivated => {
            "Have the product subscribed to, then restore the provider."
        }
        Reason::NoPermission => "Give the key the permission at the provider, then restore the provider.",
        Reason::KeyRefused | Reason::SignatureRefused => {
            "Check the key at the provider and here, then restore the provider."
        }
        Reason::NoCredential => "Look at the source of the credential; it is fetched again by itself.",
        Reason::Clock => "Set this machine’s clock right.",
        _ => "Look at the provider’s console; it is tried again by itself, or at once after a restore.",
    }
}

fn of_ledger(console: &Console) -> Vec<Matter> {
    let ledger = &console.pipeline.ledger;
    let mut all = Vec::new();
    if let Some(reason) = ledger.unavailable_reason() {
        let word: &str = reason.into();
        let next = "No paid call is made until it can be written. Look at its disk and its files.";
        all.push(matter(Tone::Bad, format!("The ledger is not available: {}", words(word)), next, "/console/"));
    }
    if let Some(backlog) = ledger.backlog().filter(|backlog| backlog.oldest > Duration::from_secs(60)) {
        let what =
            format!("The ledger’s database is behind by {} ({} entries)", lasting(backlog.oldest), backlog.entries);
        let next = "Answers are safe in the spool. See whether the database is locked, slow or full.";
        all.push(matter(Tone::Warn, what, next, "/console/"));
    }
    all
}

/// Keys, certificates, credentials and packages that end soon.
fn of_ends(now: Timestamp, families: &[MetricFamily]) -> Vec<Matter> {
    let kinds = [
        (
            "idgate_client_key_expiry_timestamp_seconds",
            "Key of client",
            "Issue a new one: idgate key new.",
            "/console/clients",
        ),
        (
            "idgate_tls_certificate_expiry_timestamp_seconds",
            "Certificate of",
            "Replace the files; they are read again.",
            "/console/",
        ),
        ("idgate_package_end_timestamp_seconds", "Package of", "Buy the next package.", "/console/money"),
    ];
    let mut all = Vec::new();
    for (family, what, next, page) in kinds {
        for one in series(families, family) {
            #[expect(clippy::cast_possible_truncation, reason = "seconds")]
            let left = one.value as i64 - now.as_second();
            let Ok(time) = u64::try_from(left) else {
                all.push(matter(Tone::Bad, format!("{what} {} has ended", one.words()), next, page));
                continue;
            };
            if left < SOON {
                let what = format!("{what} {} ends in {}", one.words(), lasting(Duration::from_secs(time)));
                all.push(matter(Tone::Warn, what, next, page));
            }
        }
    }
    for one in series(families, "idgate_budget_used_ratio").filter(|one| one.value >= 0.8) {
        let tone = if one.value >= 1.0 { Tone::Bad } else { Tone::Warn };
        let what = format!("Budget of {} is used to {}", one.words(), super::shown::percent(one.value));
        all.push(matter(tone, what, "Raise the budget, or see who asks so much.", "/console/money"));
    }
    for one in series(families, "idgate_package_days_left").filter(|one| one.value < 7.0) {
        let what = format!("Package of {} lasts {:.1} more days", one.words(), one.value);
        all.push(matter(Tone::Warn, what, "Buy the next package.", "/console/money"));
    }
    all
}

/// A value of a family, with its labels.
pub(super) struct Series {
    labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Series {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(one, _)| one == name).map(|(_, value)| &**value).unwrap_or_default()
    }

    /// All labels, one after the other.
    pub(super) fn words(&self) -> String {
        self.labels.iter().map(|(_, value)| &**value).collect::<Vec<_>>().join(" ")
    }
}

/// The values of a family.
pub(super) fn series<'a>(families: &'a [MetricFamily], name: &'static str) -> impl Iterator<Item = Series> + use<'a> {
    let of_name = families.iter().filter(move |family| family.name() == name);
    of_name.flat_map(|family| {
        family.get_metric().iter().map(|metric| {
            let pairs = metric.get_label().iter();
            let labels = pairs.map(|label| (label.name().to_owned(), label.value().to_owned())).collect();
            let value = match family.get_field_type() {
                MetricType::COUNTER => metric.get_counter().get_value(),
                _ => metric.get_gauge().get_value(),
            };
            Series { labels, value }
        })
    })
}
