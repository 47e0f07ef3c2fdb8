//! `idgate sandbox`: the whole gateway on one machine, with simulated providers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use super::serve::{self, Hangup};
use crate::app::commands::output::say;
use crate::app::config::{Found, Profile, Settings, Sources};
use crate::app::lifecycle::Signals;
use crate::app::simulated::{self, ENDPOINTS};
use crate::app::{Gateway, StartError, World, descriptors, telemetry};
use crate::domain::clock::Ids;
use crate::domain::verdict::Verdict;
use crate::providers::DRIVERS;
use crate::server::http::access_log::AccessLog;
use crate::server::records::receipt::keys::Pair;
use crate::server::sandbox::{People, Sandbox, SandboxHandle};
use crate::verify::ProviderConfig;

/// How long the simulators may take to close their sockets.
const SIMULATORS_LEAVE: Duration = Duration::from_secs(1);

/// Settings for local use that differ from the defaults. A breaker stays open long enough to read what is shown and to
/// type the next command.
const FOR_A_LAPTOP: &str = "[log]\nformat = \"text\"\n\n[server]\ndrain_notice = \"0s\"\n\n[console]\nenabled = true\n\n[breaker]\nopen_for = \"1m\"\n";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address of the public API [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// The address of the admin API and of the sandbox's controls [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDR", value_parser = address)]
    admin_listen: Option<SocketAddr>,
    /// The verdict for ID numbers that are not on the sandbox's list of invented people.
    #[arg(long, value_enum, default_value_t = Unlisted::NoRecord)]
    unlisted: Unlisted,
    /// Leave out the line about each request, which scrolls these hints away.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Unlisted {
    Match,
    Mismatch,
    NoRecord,
}

/// An address with its port, or a port of this machine alone.
fn address(text: &str) -> Result<SocketAddr, String> {
    let port = || Some(SocketAddr::from(([127, 0, 0, 1], text.strip_prefix(':').unwrap_or(text).parse().ok()?)));
    let address = text.parse().ok().or_else(port);
    address.ok_or_else(|| "is not an address with a port; write 127.0.0.1:8080, or only 8080".to_owned())
}

impl Args {
    /// The flags as environment variables, so that they override all other layers.
    fn flags(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let flags = [("IDGATE__SERVER__LISTEN", self.listen), ("IDGATE__SERVER__ADMIN_LISTEN", self.admin_listen)];
        flags.into_iter().filter_map(|(key, addr)| Some((key, addr?)))
    }
}

impl From<Unlisted> for Verdict {
    fn from(word: Unlisted) -> Self {
        match word {
            Unlisted::Match => Verdict::Match,
            Unlisted::Mismatch => Verdict::Mismatch,
            Unlisted::NoRecord => Verdict::NoRecord,
        }
    }
}

pub(super) fn run(sources: Sources, args: &Args) -> anyhow::Result<ExitCode> {
    serve::block_on(async {
        let mut signals = Signals::register()?;
        let stop = CancellationToken::new();
        let mut world = World::real(AccessLog::nowhere());
        let sandbox = Sandbox::start(
            simulated::providers(ENDPOINTS)?,
            People::invented(),
            args.unlisted.into(),
            world.clock.clone(),
            world.ids.clone(),
            stop.clone(),
        )?;
        world.more_admin = crate::server::sandbox::router(sandbox.handle());
        let sources = args.flags().fold(sources, |sources, (key, addr)| sources.with_variable(key, addr));
        let sources = sources.over(FOR_A_LAPTOP).over(simulated::configuration(&sandbox.handle()));
        let scratch = if has_ledger(&sources) { None } else { Scratch::new(&world.ids) };
        let sources = match &scratch {
            Some(scratch) => scratch.under(sources, &world.ids),
            None => sources,
        };
        let sources = with_receipts(sources);
        let Some(Found { files, settings }) = serve::unless_stopped(serve::read(&sources), &mut signals).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        let settings = settings?;
        anyhow::ensure!(
            settings.profile == Profile::Development,
            "the sandbox does not run with profile = \"production\"; use another configuration"
        );
        if let Some(real) = real_provider(&settings, &sandbox.handle()) {
            anyhow::bail!("a sandbox asks simulators only, and providers.{real} is none; use another configuration");
        }
        telemetry::start(&settings.log)?;
        if !args.quiet {
            world.access_log = serve::access_log(&settings.log)?;
        }
        let access = Access {
            schemes: [&settings.tls, &settings.admin_tls].map(|tls| if tls.is_some() { "https" } else { "http" }),
            keys: [!settings.clients.is_empty(), !settings.operators.is_empty()],
        };
        // Both ends of each call to a provider are in this process.
        world.taken_elsewhere = descriptors::to_providers(&settings);
        let bound = async { serve::bind(settings, world).await.map_err(naming_the_flag) };
        let Some(gateway) = serve::unless_stopped(bound, &mut signals).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        let gateway = gateway.reloading(sources, files);
        say(&welcome(&gateway, &access))?;
        let done = serve::finish(gateway, signals, Hangup::Stops).await;
        stop.cancel();
        // A simulator may be in the middle of a fault that hangs.
        let _ = tokio::time::timeout(SIMULATORS_LEAVE, sandbox.closed()).await;
        done
    })
}

/// Adds the flag that chooses another address to the error of one that is taken.
fn naming_the_flag(error: anyhow::Error) -> anyhow::Error {
    let flag = match error.downcast_ref() {
        Some(StartError::Bind { key: "server.listen", .. }) => "--listen 8081",
        Some(StartError::Bind { key: "server.admin_listen", .. }) => "--admin-listen 9465",
        _ => return error,
    };
    anyhow::anyhow!("{error} with {flag}")
}

fn has_ledger(sources: &Sources) -> bool {
    ["file", "postgres"].iter().any(|key| sources.names("ledger", key))
}

/// A temporary key for receipts, if there is a ledger and no configured key.
fn with_receipts(sources: Sources) -> Sources {
    let wants_key = has_ledger(&sources) && !sources.names("receipts", "key");
    match Pair::new().filter(|_| wants_key) {
        Some(pair) => sources.over(format!("[receipts]\nkey = {{ value = {:?} }}\n", pair.private.expose())),
        None => sources,
    }
}

/// A temporary folder for the ledger, deleted with the sandbox.
struct Scratch(PathBuf);

impl Scratch {
    /// `None` if the folder cannot be created. The sandbox then has no ledger, and the log says so.
    fn new(ids: &Ids) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("idgate-sandbox-{}", ids.nonce().simple()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder).ok()?;
        Some(Self(folder))
    }

    fn under(&self, sources: Sources, ids: &Ids) -> Sources {
        let sources = sources.over(format!("[ledger]\nfile = {:?}\n", self.0.join("ledger.db").display().to_string()));
        if sources.names("cache", "digest_key") {
            return sources;
        }
        let key: String = (0..2).map(|_| ids.nonce().simple().to_string()).collect();
        sources.over(format!("[cache]\ndigest_key = {{ value = \"{key}\" }}\n"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, the system cleans up its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Finds a real provider in the configuration. A purpose could use it, and the sandbox would then cause real bills.
fn real_provider(settings: &Settings, sandbox: &SandboxHandle) -> Option<Arc<str>> {
    let simulated: BTreeSet<String> =
        DRIVERS.iter().flat_map(|driver| sandbox.addresses(driver.name)).map(|address| address.to_string()).collect();
    let is_real = |provider: &&ProviderConfig| {
        provider.endpoints.iter().any(|endpoint| !simulated.contains(endpoint.authority()))
    };
    settings.verify.providers.iter().find(is_real).map(|provider| Arc::clone(&provider.name))
}

/// The scheme of each listener, public and admin, and whether it needs a key.
struct Access {
    schemes: [&'static str; 2],
    keys: [bool; 2],
}

fn welcome(gateway: &Gateway, access: &Access) -> String {
    let (public, admin) = (gateway.public_addr(), gateway.admin_addr());
    let [http, admin_http] = access.schemes;
    let [key, admin_key] = access.keys.map(|needed| if needed { " -H 'Authorization: Bearer YOUR-KEY'" } else { "" });
    let first = DRIVERS.first().map_or("PROVIDER", |driver| driver.name);
    let people = People::invented();
    let person = people.iter().next();
    let (name, number) = person.map_or(("", ""), |person| (person.name.expose(), person.id_number.expose()));
    format!(
        "idgate sandbox: all providers are simulated on this machine, all people are invented, nothing is billed. \
         Ctrl-C stops it.\n\
         Each request gets a line below; start with --quiet to leave those out.\n\n\
         ask      curl -s {http}://{public}/v1/verify{key} -H 'Content-Type: application/json' \
         -d '{{\"name\":\"{name}\",\"id_number\":\"{number}\"}}'\n\
         break    curl -s -X PUT {admin_http}://{admin}/sandbox/{first}/fault{admin_key} -d \
         '{{\"kind\":\"status\",\"status\":500}}'\n\
         mend     curl -s -X DELETE {admin_http}://{admin}/sandbox/{first}/fault{admin_key}\n\
         people   curl -s {admin_http}://{admin}/sandbox/people{admin_key}\n\
         pages    {admin_http}://{admin}/console/\n\
         look     curl -s {admin_http}://{admin}/v1/status{admin_key}    /metrics    {admin_http}://{admin}/docs/\n"
    )
}
