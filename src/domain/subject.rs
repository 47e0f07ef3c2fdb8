//! (stub)
use crate::domain::id_number::Kind;
#[derive(Debug, Clone)]
pub struct Subject {
    name: crate::domain::personal::Personal,
    id_number: crate::domain::personal::Personal,
}
impl Subject {
    pub fn name(&self) -> &str {
        self.name.expose()
    }
    pub fn id_number(&self) -> &str {
        self.id_number.expose()
    }
    pub fn kind(&self) -> Kind {
        Kind::Resident
    }
}
