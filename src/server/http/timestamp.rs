//! Writes times as RFC 3339, in UTC and with milliseconds: two or three stand in every answer and log line.

use jiff::Timestamp;

const LENGTH: usize = "1970-01-01T00:00:00.000Z".len();

/// A written time.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Written([u8; LENGTH]);

impl Written {
    /// The time `at`, which is cut off after the millisecond. Times before 1970, which no clock of ours tells, become the
    /// first one.
    pub(in crate::server) fn of(at: Timestamp) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or_default();
        Self([
            digit(year / 1000),
            digit(year / 100),
            digit(year / 10),
            digit(year),
            b'-',
            digit(month / 10),
            digit(month),
            b'-',
            digit(day / 10),
            digit(day),
            b'T',
            digit(hour / 10),
            digit(hour),
            b':',
            digit(minute / 10),
            digit(minute),
            b':',
            digit(second / 10),
            digit(second),
            b'.',
            digit(millis / 100),
            digit(millis / 10),
            digit(millis),
            b'Z',
        ])
    }

    /// Plain ASCII.
    pub(in crate::server) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(in crate::server) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Year, month and day of the day so many days after 1 January 1970: Howard Hinnant's `civil_from_days`, in which a year
/// begins in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_jiff_writes_it() {
        let day = jiff::SignedDuration::from_hours(24);
        let odd = jiff::SignedDuration::from_millis(12_345_678);
        let mut at = Timestamp::UNIX_EPOCH;
        while at.as_second() < 253_000_000_000 {
            assert_eq!(Written::of(at).as_str(), format!("{at:.3}"));
            // Every date until 2100, then every now and then.
            at += if at.as_second() < 4_102_444_800 { day } else { day * 97 } + odd;
        }
        for text in ["2026-11-28T23:59:59.999999999Z", "2000-02-29T00:00:00Z", "2100-02-28T23:59:59.0009Z"] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(Written::of(at).as_str(), format!("{at:.3}"));
        }
        assert_eq!(Written::of(Timestamp::MAX).as_str(), format!("{:.3}", Timestamp::MAX));
        assert_eq!(Written::of(Timestamp::MIN).as_str(), "1970-01-01T00:00:00.000Z");
    }
}
