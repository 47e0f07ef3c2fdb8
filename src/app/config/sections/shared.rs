//! `[shared]` and `[replica]`: reads and checks what they name.

use std::path::Path;

use crate::app::config::change::Sections;
use crate::app::config::draft::Draft;
use crate::app::config::raw::Raw;
use crate::app::config::sections::secret::{DIGEST_KEY, SHARED_KEY, SHARED_PASSWORD};
use crate::storage::shared::{Config, Password, Tls};

/// As the kernel has it.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The longest name of a replica.
const LONGEST: usize = 40;

/// The validated sections; `None` if nothing is shared.
pub(in crate::app::config) fn finish(raw: &Raw, sections: &mut Sections, read: &mut Draft) -> Option<Config> {
    let (shared, replica) = (&raw.shared, &raw.replica);
    let (password, key) = (read.secrets.remove(SHARED_PASSWORD), read.secrets.remove(SHARED_KEY));
    read.section("shared", shared.validate(raw.server.request_timeout));
    if replica.name.as_deref().is_some_and(|name| !is_name(name)) {
        read.mistake("replica.name", "is no short word; write a-z, 0-9 and -, at most 40 characters");
    }
    if !shared.is_set() {
        return None;
    }
    let is_reported = read.mistakes.iter().any(|mistake| mistake.key == DIGEST_KEY);
    if !read.secrets.contains_key(DIGEST_KEY) && !is_reported {
        let problem = "is set, and cache.digest_key is not, so replicas would not understand each other; write the same \
                       cache.digest_key for all of them";
        read.mistake("shared.redis", problem);
    }
    if replica.most.get() == 1 {
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
    let name = replica.name.clone().unwrap_or_else(host_name);
    shared.finish(Password::new(password), Tls { ca, identity: certificate.zip(key) }, name, replica.most)
}

fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_fine)
}

/// The name of this host, in the letters of a replica's name.
fn host_name() -> String {
    let text = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let fits = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name: String = text.trim().chars().take(LONGEST).map(fits).collect();
    if name.is_empty() { "replica".to_owned() } else { name }
}
