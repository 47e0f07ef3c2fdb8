//! Secrets: `{ env = "NAME" }`, `{ file = "PATH" }` or, outside production, `{ value = "…" }`.
//!
//! They are taken out of the tree before anything else reads it, so that no error message can quote one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use crate::app::config::draft::section;
use crate::app::config::draft::{Draft, Tree};
use crate::app::config::files::Files;
use crate::app::config::profile::Profile;
use crate::app::config::sections::quotes::{self, is_quoted};
use crate::domain::personal::Secret;
use crate::providers::{self, schemes};

/// The user and password of a provider's proxy. Allowed for every driver, in addition to the driver's own secrets.
pub(in crate::app::config) const PROXY_LOGIN: &str = "proxy_login";

/// Shorter digest keys could be guessed.
const SHORTEST_DIGEST_KEY: usize = 32;

/// The key of all digests of persons.
pub(in crate::app::config) const DIGEST_KEY: &str = "cache.digest_key";
/// The private keys of the listeners.
pub(in crate::app::config) const TLS_KEY: &str = "server.tls.key";
pub(in crate::app::config) const ADMIN_TLS_KEY: &str = "server.admin_tls.key";
/// The key that signs receipts.
pub(in crate::app::config) const RECEIPTS_KEY: &str = "receipts.key";
/// The password of the shared Redis, which is read again at each connection, and the key of our certificate there.
pub(in crate::app::config) const SHARED_PASSWORD: &str = "shared.password";
pub(in crate::app::config) const SHARED_KEY: &str = "shared.key";
/// The password of PostgreSQL, which is read again whenever idgate connects.
pub(in crate::app::config) const POSTGRES_PASSWORD: &str = "ledger.postgres.password";
/// The headers that go to the collector of traces.
pub(in crate::app::config) const TRACING_HEADERS: &str = "tracing.headers";
/// The replacement credential of a provider.
pub(in crate::app::config) const NEXT: &str = "next";
/// The source of a provider's temporary credentials.
pub(in crate::app::config) const CREDENTIALS: &str = "credentials";

/// The secrets outside the sections of providers and clients.
const OURS: [&str; 8] =
    [DIGEST_KEY, TLS_KEY, ADMIN_TLS_KEY, RECEIPTS_KEY, SHARED_PASSWORD, SHARED_KEY, POSTGRES_PASSWORD, TRACING_HEADERS];

/// The member of a client's issued key that holds the secret that signs.
const SECRET: &str = "secret";

/// Tables in a provider's section that may contain the same secrets as the section itself.
pub(in crate::app::config) const WITH_SECRETS: [&str; 2] = [NEXT, CREDENTIALS];

/// Moves every secret out of the tree, and reads it from its file or variable.
pub(in crate::app::config) fn take_all(read: &mut Draft, profile: Profile, environment: &BTreeMap<String, String>) {
    let mut found: Vec<(String, Value)> = Vec::new();
    for path in OURS {
        found.extend(take(&mut read.tree, path).map(|value| (path.to_owned(), value)));
    }
    if let Some(all) = section(&mut read.tree, "providers") {
        for (name, provider) in all {
            let ValueKind::Table(table) = &mut provider.kind else { continue };
            found.extend(take(table, PROXY_LOGIN).map(|value| (format!("providers.{name}.{PROXY_LOGIN}"), value)));
            let Some(driver) = driver_of(table) else { continue };
            for key in driver.secrets() {
                let inner = WITH_SECRETS.iter().map(|inner| format!("{inner}.{key}"));
                for path in std::iter::once(key.to_owned()).chain(inner) {
                    found.extend(take(table, &path).map(|value| (format!("providers.{name}.{path}"), value)));
                }
            }
        }
    }
    for (name, client) in section(&mut read.tree, "clients").into_iter().flatten() {
        let ValueKind::Table(table) = &mut client.kind else { continue };
        for list in schemes().into_iter().filter(|scheme| !scheme.is_bearer).map(|scheme| scheme.issued.list) {
            let Some(ValueKind::Array(entries)) = table.get_mut(list).map(|list| &mut list.kind) else { continue };
            for (index, entry) in entries.iter_mut().enumerate() {
                let ValueKind::Table(entry) = &mut entry.kind else { continue };
                found.extend(
                    entry.remove(SECRET).map(|value| (format!("clients.{name}.{list}[{index}].{SECRET}"), value)),
                );
            }
        }
    }
    for (key, value) in found {
        read.secret_files.extend(file_of(&value).map(|file| (key.clone(), file)));
        match resolve(value, profile, environment, &mut read.files) {
            Ok(secret) if key == DIGEST_KEY && secret.expose().len() < SHORTEST_DIGEST_KEY => {
                read.mistake(
                    key,
                    format!("is shorter than {SHORTEST_DIGEST_KEY} bytes; make one with `openssl rand -hex 32`"),
                );
            }
            Ok(secret) => drop(read.secrets.insert(key, secret)),
            Err(problem) => read.mistake(key, problem),
        }
    }
}

/// Removes and returns the value of a dotted key.
fn take(table: &mut Tree, path: &str) -> Option<Value> {
    match path.split_once('.') {
        Some((first, rest)) => take(section(table, first)?, rest),
        None => table.remove(path),
    }
}

/// The driver that a provider's section names.
pub(in crate::app::config) fn driver_of(table: &Tree) -> Option<&'static providers::Driver> {
    match &table.get("driver")?.kind {
        ValueKind::String(name) => providers::driver(name),
        _ => None,
    }
}

fn resolve(
    value: Value,
    profile: Profile,
    environment: &BTreeMap<String, String>,
    files: &mut Files,
) -> Result<Secret, String> {
    const HOW: &str = "write { env = \"NAME\" } or { file = \"PATH\" }";
    let ValueKind::Table(table) = value.kind else {
        return Err(format!("is a secret and must not be written here; {HOW}"));
    };
    if table.len() > 1 {
        return Err(format!(
            "must be exactly one of {{ env }}, {{ file }}, {{ value }}; layers are merged, so all of them must use \
             the same one; {HOW}"
        ));
    }
    let mut entries = table.into_iter();
    let (Some((kind, Value { kind: ValueKind::String(text), .. })), None) = (entries.next(), entries.next()) else {
        return Err(format!("must be one of {{ env }}, {{ file }}, {{ value }}, with a string; {HOW}"));
    };
    let secret = match kind.as_str() {
        // Not quoted: the text may be the secret itself.
        "env" if !is_variable(&text) => {
            Err("does not name an environment variable (capital letters, digits and _); write { env = \"NAME\" }"
                .to_owned())
        }
        "env" => environment
            .get(&text)
            .cloned()
            .ok_or_else(|| format!("the environment variable {text} is not set; set it, or correct its name")),
        "file" => from_file(Path::new(&text), profile, files),
        "value" if profile == Profile::Production => Err(format!("{{ value }} is refused in production; {HOW}")),
        "value" => Ok(text),
        _ => Err(format!("has an unknown key; {HOW}")),
    }?;
    if secret.is_empty() {
        return Err(format!("is empty; {HOW} of a secret that is not empty"));
    }
    if is_quoted(&secret) {
        return Err(quotes::PROBLEM.to_owned());
    }
    Ok(Secret::new(secret))
}

/// The file that the secret is in, if it is in one.
fn file_of(value: &Value) -> Option<PathBuf> {
    let ValueKind::Table(table) = &value.kind else { return None };
    match &table.get("file")?.kind {
        ValueKind::String(path) => Some(path.into()),
        _ => None,
    }
}

fn is_variable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Reads a secret file without its final line break, which editors and `echo` add.
fn from_file(path: &Path, profile: Profile, files: &mut Files) -> Result<String, String> {
    let text = files.read_text(path).map_err(|error| format!("the file {} cannot be read: {error}", path.display()))?;
    if profile == Profile::Production
        && let Some(mode) = mode_if_open_to_all(path)
    {
        let path = path.display();
        return Err(format!(
            "the file {path} can be read by every user of this machine (mode {mode:o}), which production refuses; \
             `chmod o-rwx` it, or set defaultMode: 0440 on the Kubernetes volume"
        ));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The mode of the file, if users other than its owner and group may read or write it.
fn mode_if_open_to_all(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & 0o006 != 0).then_some(mode)
}
