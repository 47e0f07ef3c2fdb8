//! Text in UTF-8.

/// `bytes` as text, without a byte order mark, which a server may send (RFC 8259, 8.1) and editors write into files.
pub fn utf8(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}
