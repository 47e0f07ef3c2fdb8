//! A place between two pages of answers.

use uuid::Uuid;

/// Only older answers follow: with lower numbers, or lower ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    Number(i64),
    Id(Uuid),
}

impl Cursor {
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Number(number) => number.to_be_bytes().to_vec(),
            Self::Id(id) => id.as_bytes().to_vec(),
        }
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            8 => Some(Self::Number(i64::from_be_bytes(bytes.try_into().ok()?))),
            16 => Some(Self::Id(Uuid::from_slice(bytes).ok()?)),
            _ => None,
        }
    }
}
