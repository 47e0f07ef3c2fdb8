//! Builds short header values.

use http::HeaderValue;

/// The text of a short header, on the stack.
pub(in crate::server) struct HeaderText {
    bytes: [u8; 64],
    length: usize,
}

impl Default for HeaderText {
    fn default() -> Self {
        Self { bytes: [0; 64], length: 0 }
    }
}

impl HeaderText {
    /// What does not fit is left out.
    pub(in crate::server) fn push(&mut self, text: &str) -> &mut Self {
        self.push_bytes(text.as_bytes());
        self
    }

    fn push_bytes(&mut self, text: &[u8]) {
        let length = text.len().min(self.bytes.len() - self.length);
        if let (Some(place), Some(text)) = (self.bytes.get_mut(self.length..self.length + length), text.get(..length)) {
            place.copy_from_slice(text);
            self.length += length;
        }
    }

    pub(in crate::server) fn number(&mut self, number: u64) -> &mut Self {
        let (mut digits, mut left) = ([0; 20], number);
        let mut first = digits.len();
        for (index, place) in digits.iter_mut().enumerate().rev() {
            *place = b'0' + u8::try_from(left % 10).unwrap_or_default();
            (left, first) = (left / 10, index);
            if left == 0 {
                break;
            }
        }
        self.push_bytes(digits.get(first..).unwrap_or_default());
        self
    }

    pub(in crate::server) fn value(&self) -> HeaderValue {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        HeaderValue::from_bytes(bytes).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_decimal() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            assert_eq!(HeaderText::default().push("n=").number(number).value(), format!("n={number}"));
        }
    }
}
