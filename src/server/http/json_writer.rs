//! Writes JSON objects member by member into a buffer. serde would look for characters to escape one by one, in every
//! key and every word; that costs more than the rest of a log line.

use serde::Serialize;

/// An object that is being written.
pub(in crate::server) struct Object<'a> {
    into: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(in crate::server) fn open(into: &'a mut Vec<u8>) -> Self {
        into.push(b'{');
        Self { into, is_empty: true }
    }

    pub(in crate::server) fn close(self) {
        self.into.push(b'}');
    }

    /// Writes a key that has nothing to escape.
    fn key(&mut self, key: &'static str) {
        self.into.reserve(key.len() + 4);
        if !std::mem::replace(&mut self.is_empty, false) {
            self.into.push(b',');
        }
        self.into.push(b'"');
        self.into.extend_from_slice(key.as_bytes());
        self.into.extend_from_slice(b"\":");
    }

    pub(in crate::server) fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        write_text(self.into, text);
    }

    /// Writes ASCII that has nothing to escape.
    pub(in crate::server) fn plain(&mut self, key: &'static str, text: &[u8]) {
        self.key(key);
        self.into.push(b'"');
        self.into.extend_from_slice(text);
        self.into.push(b'"');
    }

    /// Leaves the member out if there is no text.
    pub(in crate::server) fn optional(&mut self, key: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    /// Writes a word of ours, or nothing. Such words have nothing to escape.
    pub(in crate::server) fn word(&mut self, key: &'static str, word: Option<&str>) {
        if let Some(word) = word {
            self.plain(key, word.as_bytes());
        }
    }

    /// A member of any type.
    pub(in crate::server) fn value(&mut self, key: &'static str, value: &impl Serialize) {
        self.key(key);
        // Writing to a `Vec` cannot fail, and these types cannot either.
        let _ = serde_json::to_writer(&mut *self.into, value);
    }

    pub(in crate::server) fn texts<'t>(&mut self, key: &'static str, texts: impl Iterator<Item = &'t str>) {
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

    pub(in crate::server) fn object(&mut self, key: &'static str) -> Object<'_> {
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
        into.push(b'"');
        into.extend_from_slice(text.as_bytes());
        into.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_written_as_serde_writes_it() {
        let all: String = (0..0x250).filter_map(char::from_u32).chain("张三 😀\u{2028}".chars()).collect();
        let each = all.chars().map(String::from).chain([all.clone(), String::new()]);
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
        let mut inner = object.object("e");
        inner.value("f", &1.5);
        inner.close();
        object.object("g").close();
        object.close();
        assert_eq!(String::from_utf8(written).unwrap(), r#"{"a":"x","c":[],"d":["x","\""],"e":{"f":1.5},"g":{}}"#);
    }
}
