//! Amounts, prices, and whether a call was paid for.

use crate::domain::verdict::Verdict;

/// An amount in millionths of a yuan. Market prices go down to 1.7 fen (17,000) a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MicroYuan(pub u64);

impl MicroYuan {
    /// Parses an amount in yuan, such as `"0.033"`. At most six digits after the point, so that no rounding is needed,
    /// and at most nine before it.
    pub fn parse(yuan: &str) -> Option<Self> {
        let (whole, part) = yuan.split_once('.').unwrap_or((yuan, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 9 || part.len() > 6 || !digits(whole) || !digits(part) {
            return None;
        }
        let micro: u64 = if part.is_empty() { 0 } else { format!("{part:0<6}").parse().ok()? };
        Some(Self(whole.parse::<u64>().ok()? * 1_000_000 + micro))
    }
}

/// Whether the provider charged for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Billed {
    /// Charged, according to the provider's price list.
    Yes,
    No,
    Unknown,
}

impl Billed {
    pub const ALL: [Billed; 3] = [Billed::Yes, Billed::No, Billed::Unknown];

    /// The name used in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A provider's list price per verdict; zero means not billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    pub on_match: MicroYuan,
    pub on_mismatch: MicroYuan,
    pub on_no_record: MicroYuan,
}

impl Prices {
    pub const fn of(&self, verdict: Verdict) -> MicroYuan {
        match verdict {
            Verdict::Match => self.on_match,
            Verdict::Mismatch => self.on_mismatch,
            Verdict::NoRecord => self.on_no_record,
        }
    }

    /// The maximum cost of a call.
    pub fn most(&self) -> MicroYuan {
        self.on_match.max(self.on_mismatch).max(self.on_no_record)
    }

    pub const fn billed(&self, verdict: Verdict) -> Billed {
        if self.of(verdict).0 == 0 { Billed::No } else { Billed::Yes }
    }
}

/// What calls cost at one provider: the list prices, and what prepaid packages change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    pub list: Prices,
    /// The prices that tell which verdicts are billed.
    billed_by: Prices,
    /// What a call costs at most by the packages.
    dearest: MicroYuan,
}

impl Tariff {
    /// `dearest` is the highest price per call of the packages, if there are any. If calls have no list price then,
    /// those verdicts are billed that have one by `usual`.
    pub fn new(list: Prices, usual: Prices, dearest: Option<MicroYuan>) -> Self {
        let billed_by = if list.most().0 == 0 && dearest.is_some() { usual } else { list };
        Self { list, billed_by, dearest: dearest.unwrap_or_default() }
    }

    /// The list price.
    pub const fn of(&self, verdict: Verdict) -> MicroYuan {
        self.list.of(verdict)
    }

    /// The maximum cost of a call.
    pub fn most(&self) -> MicroYuan {
        self.list.most().max(self.dearest)
    }

    pub const fn billed(&self, verdict: Verdict) -> Billed {
        self.billed_by.billed(verdict)
    }
}

impl From<Prices> for Tariff {
    fn from(list: Prices) -> Self {
        Self::new(list, list, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn billed_and_price_are_two_things() {
        let prices =
            |yuan: u64| Prices { on_match: MicroYuan(yuan), on_mismatch: MicroYuan(yuan), on_no_record: MicroYuan(0) };
        let free = Tariff::new(prices(0), prices(30), Some(MicroYuan(0)));
        assert_eq!((free.billed(Verdict::Match), free.most()), (Billed::Yes, MicroYuan(0)), "from a free package");
        assert_eq!(free.billed(Verdict::NoRecord), Billed::No);
        assert_eq!(Tariff::from(prices(0)).billed(Verdict::Match), Billed::No, "without any package");
        let paid = Tariff::new(prices(30), prices(50), Some(MicroYuan(40)));
        assert_eq!((paid.most(), paid.of(Verdict::Match)), (MicroYuan(40), MicroYuan(30)));
    }

    #[test]
    fn amounts_are_exact() {
        assert_eq!(MicroYuan::parse("0.033"), Some(MicroYuan(33_000)));
        assert_eq!(MicroYuan::parse("1"), Some(MicroYuan(1_000_000)));
        assert_eq!(MicroYuan::parse("999999999.999999"), Some(MicroYuan(999_999_999_999_999)));
        for bad in ["", "-1", "1e3", ".5", "1,5", "0.0000001", "1000000000"] {
            assert_eq!(MicroYuan::parse(bad), None, "{bad}");
        }
    }
}
