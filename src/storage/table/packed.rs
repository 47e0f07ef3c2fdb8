//! Times and other numbers in six bytes.

use std::time::Duration;

use tokio::time::Instant;

/// A number of up to 48 bits, signed: milliseconds of four thousand years. What is beyond is its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packed([u8; 6]);

const MOST: i64 = (1 << 47) - 1;

impl Packed {
    pub fn new(number: i64) -> Self {
        let [a, b, c, d, e, f, ..] = number.clamp(-MOST, MOST).to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    pub fn get(self) -> i64 {
        let Self([a, b, c, d, e, f]) = self;
        // Shifted up and down again, which copies the sign.
        i64::from_le_bytes([0, 0, a, b, c, d, e, f]) >> 16
    }
}

impl From<[u8; 6]> for Packed {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

/// Turns instants into milliseconds since a start.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(Instant);

impl Epoch {
    pub const fn at(start: Instant) -> Self {
        Self(start)
    }

    /// Negative before the start. Rounded down, so that what is in order stays so.
    pub fn millis(&self, at: Instant) -> i64 {
        let Self(start) = *self;
        if at >= start { millis(at - start) } else { -millis(start - at + Duration::from_nanos(999_999)) }
    }
}

impl Default for Epoch {
    fn default() -> Self {
        Self::at(Instant::now())
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
