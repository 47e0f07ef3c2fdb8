//! `[ledger]`: what needs other sections and files.

use super::replica;
use super::secret::POSTGRES_PASSWORD;
use crate::app::config::draft::Draft;
use crate::app::config::raw::Raw;
use crate::storage::ledger::{Config, Password};

/// The section with the password and the name of the replica.
pub(in crate::app::config) fn finish(raw: &Raw, read: &mut Draft) -> Config {
    let mut ledger = raw.ledger.clone();
    let password = read.secrets.remove(POSTGRES_PASSWORD);
    let file = read.secret_files.remove(POSTGRES_PASSWORD);
    let Some(postgres) = &mut ledger.postgres else { return ledger };
    postgres.password = file.map(Password::File).or(password.map(Password::Fixed));
    let files = [("ca_file", &postgres.ca_file), ("certificate", &postgres.certificate), ("key", &postgres.key)];
    for (key, file) in files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?))) {
        if let Err(error) = read.files.read(file) {
            let problem = format!("the file {} cannot be read: {error}", file.display());
            read.mistake(format!("ledger.postgres.{key}"), problem);
        }
    }
    match replica::name(&raw.replica) {
        Some(name) => ledger.replica = name,
        None if raw.replica.name.is_none() => {
            let problem = "is missing, and the name of the host has other characters than small letters, digits and -; \
                           write one, such as \"idgate-0\"";
            read.mistake("replica.name", problem);
        }
        None => {}
    }
    ledger
}
