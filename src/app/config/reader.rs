//! Reads the layers, each over the one before: the embedded defaults, a file, what a command adds, the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use zeroize::Zeroizing;

use super::change::Sections;
use super::draft::{Draft, Tree, section};
use super::files::{Files, Reading};
use super::mistakes::Mistakes;
use super::profile::Profile;
use super::sections::{issued, provider, quotes, secret};
use super::settings::Settings;
use super::{deserialize, production, settings};

/// Bounds the retries when files change during each read. The last read is used or rejected.
const MOST_READS: usize = 3;

/// The embedded defaults.
pub const DEFAULT: &str = include_str!("../../../config/default.toml");

/// The source of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file that overrides the defaults.
    pub file: Option<PathBuf>,
    /// TOML that overrides the file, added by commands and tests; later ones override earlier ones.
    pub overlays: Vec<String>,
    /// Environment variables, which override everything else.
    pub environment: BTreeMap<String, String>,
}

/// The result of reading a configuration.
#[derive(Debug)]
pub struct Found {
    /// The files that were read.
    pub files: Files,
    /// The settings, or all mistakes.
    pub settings: Result<Settings, Mistakes>,
}

impl Sources {
    /// The file of `--config` or `IDGATE_CONFIG`, and the process's environment.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        let environment: BTreeMap<_, _> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let file = file.or_else(|| environment.get("IDGATE_CONFIG").map(PathBuf::from));
        Self { file, overlays: Vec::new(), environment }
    }

    /// Only this TOML over the defaults, without a file or environment variables.
    pub fn text(overlay: impl Into<String>) -> Self {
        Self::default().over(overlay)
    }

    /// Adds TOML that overrides all before it.
    #[must_use]
    pub fn over(mut self, overlay: impl Into<String>) -> Self {
        self.overlays.push(overlay.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Reads and checks everything that can be checked without binding or calling anything.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(&self) -> Result<Settings, Mistakes> {
        self.find().settings
    }

    /// Like [`Self::load`], but also returns the files that were read, even if there are mistakes.
    pub fn find(&self) -> Found {
        self.find_noted(&Reading::default())
    }

    /// Like [`Self::find`]; notes in `reading` which file is being read.
    pub fn find_noted(&self, reading: &Reading) -> Found {
        let mut found = self.find_once(reading);
        // Read again if a file changed meanwhile: a certificate and its key could come from different versions.
        for _ in 0..MOST_READS {
            if found.files.again(reading) == found.files {
                break;
            }
            found = self.find_once(reading);
        }
        found
    }

    fn find_once(&self, reading: &Reading) -> Found {
        let mut files = Files::noted_in(reading);
        let layers = self.layers(Layer::Defaults, &mut files);
        match layers.and_then(|defaults| Ok((defaults, self.layers(Layer::All, &mut files)?))) {
            Err(mistakes) => Found { files, settings: Err(mistakes) },
            Ok((defaults, tree)) => {
                let (secrets, secret_files) = (BTreeMap::new(), BTreeMap::new());
                let mut read = Draft { tree, secrets, secret_files, files, mistakes: Vec::new() };
                let settings = self.settings(&defaults, &mut read);
                let strict = settings.iter().filter(|settings| settings.profile == Profile::Production);
                read.mistakes.extend(strict.flat_map(production::mistakes));
                // By key, because the order of discovery means nothing to the reader.
                read.mistakes.sort_by(|one, other| one.key.cmp(&other.key));
                let settings = settings.filter(|_| read.mistakes.is_empty());
                Found { files: read.files, settings: settings.ok_or(Mistakes(read.mistakes)) }
            }
        }
    }

    fn settings(&self, defaults: &Tree, read: &mut Draft) -> Option<Settings> {
        let profile = Profile::of(&read.tree);
        secret::take_all(read, profile, &self.environment);
        quotes::check_variables(read, &self.environment);
        let sections = Sections::of(&read.tree, &read.secrets);
        let driver_settings = provider::split(read, &self.environment);
        let mut issued = issued::split(read);
        let mut raw = deserialize::deserialize(read, defaults)?;
        for (name, client) in &mut raw.clients {
            client.issued = issued.remove(name).unwrap_or_default();
        }
        settings::finish(raw, driver_settings, sections, read)
    }

    /// The address of the admin listener and whether it uses TLS, even if the rest of the configuration has mistakes.
    /// For the health check, which has no access to secrets.
    pub fn admin(&self) -> Option<(std::net::SocketAddr, bool)> {
        let mut tree = self.layers(Layer::All, &mut Files::default()).ok()?;
        let server = section(&mut tree, "server")?;
        let is_tls = section(server, "admin_tls").is_some();
        let value = server.remove("admin_listen")?;
        Some((value.into_string().ok()?.parse().ok()?, is_tls))
    }

    /// The names of the environment variables that override the file; never their values.
    pub fn overriding_variables(&self) -> Vec<&str> {
        self.environment.keys().map(String::as_str).filter(|name| name.starts_with("IDGATE__")).collect()
    }

    /// Whether any layer sets this key, to any value. The sandbox fills in what is not set.
    pub fn names(&self, name: &str, key: &str) -> bool {
        let tree = self.layers(Layer::All, &mut Files::default());
        tree.is_ok_and(|mut tree| section(&mut tree, name).is_some_and(|table| table.contains_key(key)))
    }

    pub(super) fn layers(&self, layer: Layer, files: &mut Files) -> Result<Tree, Mistakes> {
        let mut builder = config::Config::builder().add_source(File::from_str(DEFAULT, FileFormat::Toml));
        if layer == Layer::All {
            if let Some(path) = &self.file {
                builder = builder.add_source(File::from_str(&read_file(path, files)?, FileFormat::Toml));
            }
            for overlay in &self.overlays {
                builder = builder.add_source(File::from_str(overlay, FileFormat::Toml));
            }
            let environment = Environment::with_prefix("IDGATE").prefix_separator("__").separator("__");
            builder = builder.add_source(environment.source(Some(self.environment.clone().into_iter().collect())));
        }
        let built = builder.build().and_then(|config| config::Source::collect(&config));
        built.map_err(|error| Mistakes::one("", &self.unreadable(&error)))
    }

    /// A syntax error's own message quotes the line, which may contain a secret, so only the position and the reason
    /// are reported, and the reason without what it quotes.
    fn unreadable(&self, error: &config::ConfigError) -> String {
        let text = error.to_string();
        let place = text.lines().find_map(|line| line.find(" at line ").and_then(|at| line.get(at..)));
        let file = self.file.as_ref().map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
        format!("{file} is not valid TOML{}{}", place.unwrap_or_default(), reason(&text))
    }
}

/// The line below the quoted one. Quoted words longer than a few characters are left out.
fn reason(text: &str) -> String {
    let marker = |line: &&str| line.trim_start().starts_with('|') && line.trim_end().ends_with('^');
    let Some(reason) = text.lines().skip_while(|line| !marker(line)).nth(1) else { return String::new() };
    let parts = reason.split('`').enumerate().map(|(index, part)| match index % 2 == 1 {
        true if part.chars().count() > 3 => "`…`".to_owned(),
        true => format!("`{part}`"),
        false => part.to_owned(),
    });
    let reason = parts.collect::<String>();
    let reason = reason.split(" in ").next().unwrap_or_default().trim();
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Defaults,
    All,
}

fn read_file(path: &Path, files: &mut Files) -> Result<Zeroizing<String>, Mistakes> {
    files.read_text(path).map_err(|error| {
        let problem = format!("the file {} cannot be read: {error}", path.display());
        Mistakes::one("--config", &problem)
    })
}
