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

/// A provider's price per verdict; zero means not billed.
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

#[cfg(test)]
mod tests {
    use super::*;

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
