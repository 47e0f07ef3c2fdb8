//! Names in two bytes.

use std::sync::Arc;

/// Numbers a few names, such as those of the providers that a configuration has.
#[derive(Debug, Default)]
pub struct Names(Vec<Arc<str>>);

impl Names {
    /// The number of a name; `None` if there are too many names.
    pub fn number(&mut self, name: &Arc<str>) -> Option<u16> {
        let known = self.0.iter().position(|known| Arc::ptr_eq(known, name) || known == name);
        let number = u16::try_from(known.unwrap_or(self.0.len())).ok()?;
        if known.is_none() {
            self.0.push(Arc::clone(name));
        }
        Some(number)
    }

    pub fn get(&self, number: u16) -> Option<&Arc<str>> {
        self.0.get(usize::from(number))
    }
}
