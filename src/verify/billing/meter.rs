//! Billing metrics. Amounts are in yuan, the base unit; the exact sums are in the ledger.

use std::sync::OnceLock;

use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::packages::{Left, float};
use crate::domain::clock::Clock;
use crate::domain::minutes::Ring;
use crate::domain::money::MicroYuan;
use crate::resilience::spending::{Limit, Use};
use crate::verify::metrics::Avoided;

#[derive(Debug)]
pub(super) struct Meter {
    cost: CounterVec,
    possible: CounterVec,
    saved: CounterVec,
    duplicates: IntCounterVec,
    refused: IntCounterVec,
    used: GaugeVec,
    remaining: IntGaugeVec,
    remaining_share: GaugeVec,
    ends: IntGaugeVec,
    days_left: GaugeVec,
    minutes: OnceLock<Minutes>,
}

/// Millionths of a yuan by minute, for the console.
#[derive(Debug)]
struct Minutes {
    clock: Clock,
    /// Billed, possibly billed, saved.
    ring: Ring<3>,
}

impl Meter {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let amount = |name: &str, help: &str, labels: &[&str]| CounterVec::new(Opts::new(name, help), labels);
        let meter = Self {
            cost: amount(
                "idgate_cost_yuan_total",
                "What calls have cost that are billed.",
                &["provider", "client", "purpose"],
            )?,
            possible: amount(
                "idgate_possible_cost_yuan_total",
                "What calls cost at most of which nobody knows whether they are billed.",
                &["provider", "client", "purpose"],
            )?,
            saved: amount(
                "idgate_saved_yuan_total",
                "What answers would have cost that needed no call of their own.",
                &["reason"],
            )?,
            duplicates: IntCounterVec::new(
                Opts::new(
                    "idgate_duplicate_bills_total",
                    "Billed calls about a person who was billed before, within the lifetime of that verdict.",
                ),
                &["provider"],
            )?,
            refused: IntCounterVec::new(
                Opts::new("idgate_budget_refused_calls_total", "Calls not made, because a budget is used up."),
                &["owner", "name"],
            )?,
            used: GaugeVec::new(
                Opts::new("idgate_budget_used_ratio", "The share of a budget that is spent or reserved; 1 is the cap."),
                &["owner", "name", "period", "unit"],
            )?,
            remaining: IntGaugeVec::new(
                Opts::new("idgate_package_remaining_calls", "Calls that are left of a prepaid package."),
                &["provider", "package"],
            )?,
            remaining_share: GaugeVec::new(
                Opts::new(
                    "idgate_package_remaining_ratio",
                    "The share of the calls of a prepaid package that is left.",
                ),
                &["provider", "package"],
            )?,
            ends: IntGaugeVec::new(
                Opts::new(
                    "idgate_package_end_timestamp_seconds",
                    "When the last day of a prepaid package is over (Unix time, seconds).",
                ),
                &["provider", "package"],
            )?,
            days_left: GaugeVec::new(
                Opts::new(
                    "idgate_package_days_left",
                    "Days until a prepaid package ends or, at the average of the last 7 days, is used up.",
                ),
                &["provider", "package"],
            )?,
            minutes: OnceLock::new(),
        };
        for family in [&meter.cost, &meter.possible, &meter.saved] {
            registry.register(Box::new(family.clone()))?;
        }
        registry.register(Box::new(meter.duplicates.clone()))?;
        registry.register(Box::new(meter.refused.clone()))?;
        registry.register(Box::new(meter.used.clone()))?;
        registry.register(Box::new(meter.remaining.clone()))?;
        registry.register(Box::new(meter.remaining_share.clone()))?;
        registry.register(Box::new(meter.ends.clone()))?;
        registry.register(Box::new(meter.days_left.clone()))?;
        for reason in [Avoided::Cache, Avoided::Shared, Avoided::Idempotent] {
            meter.saved.with_label_values(&[reason.as_str()]);
        }
        Ok(meter)
    }

    /// Creates the counters of a provider at zero.
    pub(super) fn provider(&self, provider: &str) {
        self.duplicates.with_label_values(&[provider]);
        self.refused.with_label_values(&["provider", provider]);
    }

    /// Creates the counters of a client at zero.
    pub(super) fn client(&self, client: &str) {
        self.refused.with_label_values(&["client", client]);
    }

    /// Counts a call that was not made because a budget is used up.
    pub(super) fn refused(&self, owner: &str, name: &str) {
        self.refused.with_label_values(&[owner, name]).inc();
    }

    /// Creates the cost counters of a provider, client and purpose at zero.
    pub(super) fn cost(&self, labels: [&str; 3]) {
        self.cost.with_label_values(&labels);
        self.possible.with_label_values(&labels);
    }

    /// Counts a billed call of a provider, client and purpose.
    pub(super) fn billed(&self, labels: [&str; 3], price: MicroYuan) {
        self.cost.with_label_values(&labels).inc_by(yuan(price));
        self.in_minute(0, price);
    }

    /// Counts a call of a provider, client and purpose that may have been billed.
    pub(super) fn possible(&self, labels: [&str; 3], price: MicroYuan) {
        self.possible.with_label_values(&labels).inc_by(yuan(price));
        self.in_minute(1, price);
    }

    pub(super) fn saved(&self, why: Avoided, price: MicroYuan) {
        self.saved.with_label_values(&[why.as_str()]).inc_by(yuan(price));
        self.in_minute(2, price);
    }

    fn in_minute(&self, place: usize, MicroYuan(amount): MicroYuan) {
        if let Some(Minutes { clock, ring }) = self.minutes.get() {
            ring.add(clock.wall().as_second().div_euclid(60), [(place, amount)]);
        }
    }

    /// Begins to count by minute.
    pub(super) fn keep_minutes(&self, clock: Clock) {
        self.minutes.get_or_init(|| Minutes { clock, ring: Ring::default() });
    }

    /// Millionths of a yuan billed, possibly billed and saved in the `minutes` that end with the minute `last`.
    pub(super) fn in_minutes(&self, last: i64, minutes: i64) -> [u64; 3] {
        self.minutes.get().map_or([0; 3], |kept| kept.ring.sum(last, minutes))
    }

    pub(super) fn duplicate(&self, provider: &str) {
        self.duplicates.with_label_values(&[provider]).inc();
    }

    pub(super) fn used(&self, owner: &str, name: &str, used: [(Limit, Use); 2]) {
        for (period, (limit, used)) in ["day", "month"].into_iter().zip(used) {
            let of = [("calls", used.calls, limit.calls), ("yuan", used.amount, limit.amount)];
            for (unit, used, most) in of {
                if let Some(most) = most {
                    self.used.with_label_values(&[owner, name, period, unit]).set(float(used) / float(most));
                }
            }
        }
    }

    pub(super) fn package(&self, provider: &str, left: &Left) {
        let labels = [provider, &left.id];
        self.remaining.with_label_values(&labels).set(i64::try_from(left.calls).unwrap_or(i64::MAX));
        self.remaining_share.with_label_values(&labels).set(left.share);
        if let Some(ends) = left.ends {
            self.ends.with_label_values(&labels).set(ends.as_second());
        }
        self.days_left.with_label_values(&labels).set(left.days);
    }

    /// Removes the gauges of budgets and packages.
    pub(super) fn reset(&self) {
        self.used.reset();
        self.remaining.reset();
        self.remaining_share.reset();
        self.ends.reset();
        self.days_left.reset();
    }
}

fn yuan(MicroYuan(amount): MicroYuan) -> f64 {
    float(amount) / 1e6
}
