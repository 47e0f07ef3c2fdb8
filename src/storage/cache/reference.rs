//! Providers' references, packed.

use uuid::Uuid;

use crate::domain::verdict::RequestId;

/// A provider's reference in 16 bytes. Nearly all are UUIDs, which take 36 characters as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::storage) struct Reference {
    form: Form,
    bytes: [u8; 16],
}

/// How a reference was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    #[default]
    None,
    UpperUuid,
    LowerUuid,
    /// Without hyphens.
    UpperSimple,
    LowerSimple,
    /// Up to 16 characters, followed by zeros.
    Short,
    /// Does not fit in here.
    Long,
}

impl Form {
    /// In the order of their numbers, which are also stored elsewhere.
    const ALL: [Self; 7] =
        [Self::None, Self::UpperUuid, Self::LowerUuid, Self::UpperSimple, Self::LowerSimple, Self::Short, Self::Long];
}

impl Reference {
    /// A reference that does not fit [is long](Self::is_long): then only that is known of it.
    pub(in crate::storage) fn packed(reference: Option<&RequestId>) -> Self {
        let Some(reference) = reference else { return Self::default() };
        // Empty if there is something about it that its type remembers.
        let text = reference.as_str();
        let mut bytes = [0; 16];
        match text.len() {
            1..=16 => {
                bytes.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
                return Self { form: Form::Short, bytes };
            }
            32 | 36 => {}
            _ => return Self { form: Form::Long, bytes },
        }
        let uuid = Uuid::try_parse(text).map(Uuid::into_bytes);
        let forms = [Form::UpperUuid, Form::LowerUuid, Form::UpperSimple, Form::LowerSimple];
        let mut packed = forms.into_iter().filter_map(|form| Some(Self { form, bytes: *uuid.as_ref().ok()? }));
        // Only if unpacking gives back exactly the same text.
        packed.find(|packed| packed.with_text(|unpacked| unpacked == text)).unwrap_or(Self { form: Form::Long, bytes })
    }

    pub(in crate::storage) fn unpacked(self) -> Option<RequestId> {
        // It was packed from the text of a plain one.
        self.with_text(RequestId::of_plain)
    }

    /// The form of one that does not fit, see [`Self::into_parts`].
    pub(in crate::storage) const LONG: u8 = 6;

    /// The form as a number, and the bytes.
    pub(in crate::storage) fn into_parts(self) -> (u8, [u8; 16]) {
        let form = Form::ALL.iter().position(|form| *form == self.form).unwrap_or_default();
        (u8::try_from(form).unwrap_or_default(), self.bytes)
    }

    /// What [`Self::into_parts`] gave; `None` for a form that there is not.
    pub(in crate::storage) fn of_parts(form: u8, bytes: [u8; 16]) -> Option<Self> {
        Some(Self { form: *Form::ALL.get(usize::from(form))?, bytes })
    }

    pub(super) fn is_long(self) -> bool {
        self.form == Form::Long
    }

    fn with_text<R>(self, then: impl FnOnce(&str) -> R) -> R {
        let (uuid, mut buffer) = (Uuid::from_bytes(self.bytes), Uuid::encode_buffer());
        match self.form {
            Form::UpperUuid => then(uuid.hyphenated().encode_upper(&mut buffer)),
            Form::LowerUuid => then(uuid.hyphenated().encode_lower(&mut buffer)),
            Form::UpperSimple => then(uuid.simple().encode_upper(&mut buffer)),
            Form::LowerSimple => then(uuid.simple().encode_lower(&mut buffer)),
            Form::Short => {
                let text = self.bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                then(str::from_utf8(text).unwrap_or_default())
            }
            Form::None | Form::Long => then(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_comes_back_as_it_was_given_whatever_its_form() {
        for (text, fits) in [
            ("130A2C10-B9EE-4D84-88E3-5384FF039795", true),
            ("130a2c10-b9ee-4d84-88e3-5384ff039795", true),
            ("130A2c10-b9ee-4d84-88e3-5384ff039795", false),
            ("12345678-1234-1234-1234-12345678abcd", true),
            ("130A2C10B9EE4D8488E3A384FF039795", true),
            ("130a2c10b9ee4d8488e3a384ff039795", true),
            ("130a2c10b9ee4d8488e3a384ff03979Z", false),
            ("order-42_x.y", true),
            ("order-42_x.y1234", true),
            ("order-42_x.y12345", false),
            ("r", true),
        ] {
            let given = RequestId::parse(text);
            let packed = Reference::packed(given.as_ref());
            assert_eq!((packed.is_long(), packed.unpacked()), (!fits, given.filter(|_| fits)), "{text}");
        }
        let none = Reference::packed(None);
        assert_eq!((none.is_long(), none.unpacked()), (false, None));
        // One that has yet to be sealed has no text to pack.
        assert!(Reference::packed(RequestId::parse("11010519491231002X").as_ref()).is_long());
    }
}
