//! Writes JSON objects member by member into a buffer. serde would look for characters to escape one by one, in every
//! key and every word; that costs more than the rest of a log line.

use serde::Serialize;
use uuid::Uuid;

/// An object that is being written.
pub(crate) struct Object<'a> {
    into: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(into: &'a mut Vec<u8>) -> Self {
        Self { into, is_empty: true }
    }

    pub(crate) fn close(self) {
        self.into.extend_from_slice(if self.is_empty { b"{}" } else { b"}" });
    }

    /// Writes a key that has nothing to escape. Inline, so that its length is known where it is written.
    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        let first = if std::mem::replace(&mut self.is_empty, false) { b"{\"" } else { b",\"" };
        self.into.reserve(key.len() + 4);
        self.into.extend_from_slice(first);
        self.into.extend_from_slice(key.as_bytes());
        self.into.extend_from_slice(b"\":");
    }

    #[inline(always)]
    pub(crate) fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        write_text(self.into, text);
    }

    /// Writes ASCII that has nothing to escape.
    #[inline(always)]
    pub(crate) fn plain(&mut self, key: &'static str, text: &[u8]) {
        self.key(key);
        write_plain(self.into, text);
    }

    #[inline(always)]
    pub(crate) fn uuid(&mut self, key: &'static str, uuid: Uuid) {
        self.plain(key, uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
    }

    /// Leaves the member out if there is no text.
    #[inline(always)]
    pub(crate) fn optional(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// Writes a word of ours, or nothing. Such words have nothing to escape.
    #[inline(always)]
    pub(crate) fn word(&mut self, key: &'static str, word: Option<&str>) {
        if let Some(word) = word {
            self.plain(key, word.as_bytes());
        }
    }

    /// A member of any type.
    pub(crate) fn value(&mut self, key: &'static str, value: &impl Serialize) {
        self.key(key);
        // Writing to a `Vec` cannot fail, and these types cannot either.
        let _ = serde_json::to_writer(&mut *self.into, value);
    }

    pub(crate) fn texts<'t>(&mut self, key: &'static str, texts: impl Iterator<Item = &'t str>) {
        self.key(key);
        self.into.push(b'[');
        for (index, text) in texts.enumerate() {
            if index > 0 {
                self.into.push(b',');
            }
            write_text(self.into, text);
        }
        self.into.push(b']');
    }

    /// An array of objects, each of whose members `write` writes.
    pub(crate) fn objects<T>(
        &mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Object<'_>, T),
    ) {
        self.key(key);
        self.into.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.into.push(b',');
            }
            let mut object = Object::open(self.into);
            write(&mut object, item);
            object.close();
        }
        self.into.push(b']');
    }

    #[inline(always)]
    pub(crate) fn object(&mut self, key: &'static str) -> Object<'_> {
        self.key(key);
        Object::open(self.into)
    }
}

fn write_text(into: &mut Vec<u8>, text: &str) {
    let must_be_escaped = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    // Without an early end, so that it is done for many bytes at once.
    if text.as_bytes().iter().fold(false, |any, byte| any | must_be_escaped(byte)) {
        let _ = serde_json::to_writer(into, text);
    } else {
        write_plain(into, text.as_bytes());
    }
}

fn write_plain(into: &mut Vec<u8>, text: &[u8]) {
    into.reserve(text.len() + 2);
    into.push(b'"');
    into.extend_from_slice(text);
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_written_as_serde_writes_it() {
        let all: String = (0..0x250).filter_map(char::from_u32).chain("张三 😀\u{2028}".chars()).collect();
        // Alone, and at each place among others.
        let around = |it: char| (0..20).map(move |at| format!("{}{it}{}", "x".repeat(at), "~".repeat(19 - at)));
        let each =
            all.chars().map(String::from).chain(all.chars().flat_map(around)).chain([all.clone(), String::new()]);
        for text in each {
            let mut written = Vec::new();
            write_text(&mut written, &text);
            assert_eq!(written, serde_json::to_vec(&text).unwrap());
        }
    }

    #[test]
    fn members_are_separated_and_objects_nested() {
        let mut written = Vec::new();
        let mut object = Object::open(&mut written);
        object.text("a", "x");
        object.optional("b", None);
        object.texts("c", [].into_iter());
        object.texts("d", ["x", "\""].into_iter());
        object.objects("h", [1, 2], |object, number| object.value("i", &number));
        let mut inner = object.object("e");
        inner.value("f", &1.5);
        inner.close();
        object.object("g").close();
        object.close();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            r#"{"a":"x","c":[],"d":["x","\""],"h":[{"i":1},{"i":2}],"e":{"f":1.5},"g":{}}"#
        );
    }
}
