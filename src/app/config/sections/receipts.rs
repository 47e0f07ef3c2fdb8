//! `[receipts]`: reads and checks the keys of receipts.

use super::secret::RECEIPTS_KEY;
use crate::app::config::change::Sections;
use crate::app::config::draft::Draft;
use crate::server::records::receipt::keys::{Config, Keys};

/// Reads the key and the public keys. Receipts are made from ledger entries, so they need a ledger.
pub(in crate::app::config) fn finish(
    section: &Config,
    has_ledger: bool,
    sections: &mut Sections,
    read: &mut Draft,
) -> Option<Keys> {
    let mut former = Vec::new();
    for (index, one) in section.former.iter().enumerate() {
        let content = read.files.read(&one.public_key);
        match &content {
            Ok(content) => sections.with_file("receipts", content),
            Err(error) => {
                let problem = format!("the file {} cannot be read: {error}", one.public_key.display());
                read.mistake(format!("receipts.former[{index}].public_key"), problem);
            }
        }
        former.push(content.ok());
    }
    let is_reported = read.mistakes.iter().any(|mistake| mistake.key == RECEIPTS_KEY);
    let key = read.secrets.remove(RECEIPTS_KEY);
    if key.is_some() && !has_ledger {
        let problem = "signs ledger entries, but there is no ledger; write a path into ledger.file, or remove this";
        read.mistake(RECEIPTS_KEY, problem);
    }
    if is_reported {
        // The mistake in the key is reported; `kid` without a key is only its consequence.
        return None;
    }
    let files: Vec<_> = former.iter().map(|content| content.as_ref().map(|content| content.as_slice())).collect();
    section.build(key.as_ref(), &files).map_err(|mistakes| read.section("receipts", mistakes)).ok()
}
