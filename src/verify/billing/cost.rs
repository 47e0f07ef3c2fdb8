//! The cost of a finished call.

use crate::domain::money::{Billed, MicroYuan, Tariff};
use crate::domain::outcome::Fault;
use crate::domain::verdict::{Finding, Verdict};
use crate::resilience::spending::Use;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) struct Cost {
    pub(in crate::verify) billed: Billed,
    /// Zero if not billed, or billed at nothing. The maximum price if the call is or may be billed without a verdict to
    /// price it by.
    pub(in crate::verify) price: MicroYuan,
    pub(super) verdict: Option<Verdict>,
}

impl Cost {
    pub(in crate::verify) fn of(prices: &Tariff, result: &Result<Finding, Fault>) -> Self {
        let (billed, verdict) = match result {
            Ok(finding) => (prices.billed(finding.verdict), Some(finding.verdict)),
            Err(fault) => (fault.billed, None),
        };
        let price = match (billed, verdict) {
            (Billed::No, _) => MicroYuan(0),
            (_, Some(verdict)) => prices.of(verdict),
            (_, None) => prices.most(),
        };
        Self { billed, price, verdict }
    }

    /// The amount counted against budgets. An unbilled call without a verdict does not count, otherwise an outage would
    /// use up the call budgets.
    pub(super) fn spent(self) -> Use {
        let counts = self.verdict.is_some() || self.billed != Billed::No;
        Use { calls: u64::from(counts), amount: self.price.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Prices;
    use crate::domain::outcome::{Outcome, Reason};

    #[test]
    fn a_call_counts_if_it_brought_a_verdict_or_may_be_billed() {
        let prices = Prices { on_match: MicroYuan(30), on_mismatch: MicroYuan(50), on_no_record: MicroYuan(0) };
        let prices = Tariff::from(prices);
        let cost = |result| {
            let cost = Cost::of(&prices, &result);
            (cost.billed, cost.price.0, cost.spent().calls)
        };
        let found = |verdict| Ok(Finding { verdict, request_id: None });
        assert_eq!(cost(found(Verdict::Match)), (Billed::Yes, 30, 1));
        assert_eq!(cost(found(Verdict::NoRecord)), (Billed::No, 0, 1));
        assert_eq!(cost(Err(Fault::new(Outcome::Timeout, Reason::Unspecified))), (Billed::Unknown, 50, 1));
        assert_eq!(cost(Err(Fault::new(Outcome::Unreachable, Reason::Unspecified))), (Billed::No, 0, 0));
    }
}
