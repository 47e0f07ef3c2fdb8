//! `[shared]`: reads and checks what it names.

use std::num::NonZeroU32;
use std::path::Path;

use crate::app::config::change::Sections;
use crate::app::config::draft::Draft;
use crate::app::config::raw::Raw;
use crate::app::config::sections::replica;
use crate::app::config::sections::secret::{DIGEST_KEY, SHARED_KEY, SHARED_PASSWORD};
use crate::storage::shared::{Config, Password, Tls};

/// The validated sections; `None` if nothing is shared.
pub(in crate::app::config) fn finish(raw: &Raw, sections: &mut Sections, read: &mut Draft) -> Option<Config> {
    let (shared, replica) = (&raw.shared, &raw.replica);
    let (password, key) = (read.secrets.remove(SHARED_PASSWORD), read.secrets.remove(SHARED_KEY));
    let password = Password::new(password, read.secret_files.remove(SHARED_PASSWORD));
    read.section("shared", shared.validate(raw.server.request_timeout));
    if !shared.is_set() {
        return None;
    }
    let is_reported = read.mistakes.iter().any(|mistake| mistake.key == DIGEST_KEY);
    if !read.secrets.contains_key(DIGEST_KEY) && !is_reported {
        let problem = "is set, and cache.digest_key is not, so replicas would not understand each other; write the same \
                       cache.digest_key for all of them";
        read.mistake("shared.redis", problem);
    }
    if replica.most == 1 {
        let problem = "is 1 with [shared]; write how many replicas run at most, such as 3";
        read.mistake("replica.most", problem);
    }
    if shared.certificate.is_some() != key.is_some() {
        let problem = "needs both shared.certificate and shared.key; write the other one too, or neither";
        read.mistake(if key.is_some() { "shared.certificate" } else { "shared.key" }, problem);
    }
    let mut file = |key: &str, path: &Path| match read.files.read(path) {
        Ok(content) => {
            sections.with_file("shared", &content);
            Some(content.to_vec())
        }
        Err(error) => {
            read.mistake(format!("shared.{key}"), format!("the file {} cannot be read: {error}", path.display()));
            None
        }
    };
    let ca = shared.ca_file.as_deref().and_then(|path| file("ca_file", path));
    let certificate = shared.certificate.as_deref().and_then(|path| file("certificate", path));
    // A name that is none, and 0, are reported with the section.
    let (name, most) = (replica::name(replica).unwrap_or_default(), NonZeroU32::new(replica.most));
    let tls = Tls { ca, identity: certificate.zip(key) };
    shared.finish(password, tls, name, most.unwrap_or(NonZeroU32::MIN))
}
