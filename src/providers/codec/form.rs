//! Query strings and form bodies, with the percent-encoding common to all signatures.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but `A-Z a-z 0-9 - _ . ~` is encoded, with upper-case hex digits.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Appends `text` to `out`, percent-encoded.
pub fn encode_into(out: &mut String, text: &str) {
    out.extend(utf8_percent_encode(text, RESERVED));
}

/// `name=value&name=value…`, percent-encoded, in the given order; an empty value is written `name=`.
pub fn encode_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::with_capacity(256);
    encode_pairs_into(&mut out, pairs);
    out
}

/// Appends what [`encode_pairs`] makes of `pairs` to `out`.
pub fn encode_pairs_into<'a>(out: &mut String, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for (index, (name, value)) in pairs.into_iter().enumerate() {
        if index > 0 {
            out.push('&');
        }
        encode_into(out, name);
        out.push('=');
        encode_into(out, value);
    }
}

/// The decoded pairs of a query string or form body, in order. Accepts `+` and `%20` for a space. Invalid UTF-8 becomes
/// U+FFFD, which fails every local rule and every signature.
pub fn decode_pairs(bytes: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(bytes).into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay_bare() {
        let mut out = String::new();
        encode_into(&mut out, "aZ09-_.~ +*/·");
        assert_eq!(out, "aZ09-_.~%20%2B%2A%2F%C2%B7");
    }

    #[test]
    fn pairs_survive_the_way_there_and_back() {
        let pairs = [("xm", "买买提·艾"), ("空", ""), ("a b", "x&y=z%+")];
        let decoded = decode_pairs(encode_pairs(pairs).as_bytes());
        let borrowed: Vec<_> = decoded.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(borrowed, pairs);
    }
}
