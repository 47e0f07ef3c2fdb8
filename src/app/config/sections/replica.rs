//! `[replica]`: which of many gateways this one is.

use serde::Deserialize;

use crate::app::config::draft::Draft;

/// As the kernel has it.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const LONGEST_NAME: usize = 40;
const MOST_REPLICAS: u32 = 1000;

/// Section `[replica]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// By default the name of the host. Its spool and its books belong to it.
    #[serde(default)]
    pub(in crate::app::config) name: Option<String>,
    /// How many run at once at most.
    pub most: u32,
}

/// Checks the section.
pub(in crate::app::config) fn check(section: &Replica, read: &mut Draft) {
    if section.name.as_deref().is_some_and(|name| !is_name(name)) {
        read.mistake("replica.name", "is no name; write small letters, digits and -, at most 40, such as \"idgate-0\"");
    }
    if !(1..=MOST_REPLICAS).contains(&section.most) {
        read.mistake("replica.most", format!("must be 1 to {MOST_REPLICAS}: how many run at once at most"));
    }
}

/// The configured name, or that of the host in the letters of a name; `None` if it is none.
pub(in crate::app::config) fn name(section: &Replica) -> Option<String> {
    let name = section.name.clone().or_else(host_name)?;
    is_name(&name).then_some(name)
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string(HOST_NAME).ok()?;
    let fits = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    Some(name.trim().chars().take(LONGEST_NAME).map(fits).collect())
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}
