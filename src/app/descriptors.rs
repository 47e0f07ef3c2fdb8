//! How many connections fit the limit on open files. Connections, files and calls to providers all take descriptors.
//!
//! Invariant: strangers' connections never take the descriptors that calls to providers, DNS, the ledger and the
//! outputs need, and connections to one listener never take those of the other.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::config::Settings;
use crate::server::listener;

/// For the ledger, the outputs, DNS, the credentials, the configuration's files and the runtimes.
const FILES: usize = 128;

/// The most connections of the admin listener, which serves probes, metrics and operators, and the fewest.
const ADMIN_MOST: usize = 512;
const ADMIN_LEAST: usize = 16;

/// How many connections each listener may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    pub public: usize,
    pub admin: usize,
    wanted: usize,
    reserved: usize,
    limit: usize,
}

/// Raises the soft limit on open files to the hard one: the usual soft limit of 1,024 is meant for programs that use
/// `select`. Where the system refuses, the limit stays.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// The limit on open files of this process; `None` if there is none.
pub(super) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The most connections to all providers at once.
pub(super) fn to_providers(settings: &Settings) -> usize {
    let providers = settings.verify.providers.iter();
    // Those of one endpoint may idle while all calls go to another.
    providers.map(|provider| provider.max_concurrency.saturating_mul(provider.endpoints.len())).sum()
}

impl Shares {
    /// The shares under `limit`, beside `outgoing` connections.
    pub(super) fn of(limit: Option<u64>, outgoing: usize, wanted: usize) -> Self {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let reserved = FILES.saturating_add(outgoing).min(limit / 2);
        let room = limit - reserved;
        let admin = wanted.min((room / 8).clamp(ADMIN_LEAST, ADMIN_MOST));
        let for_public = room.saturating_sub(listener::descriptors(admin));
        // Refused connections stay open for a moment.
        let lingering = listener::descriptors(for_public) - for_public;
        let public = wanted.min(for_public.saturating_sub(lingering)).max(1);
        Self { public, admin, wanted, reserved, limit }
    }

    /// What to say, and what to do, if there are fewer connections than configured.
    pub(super) fn complaint(&self) -> Option<String> {
        let Self { public, admin, wanted, reserved, limit } = self;
        (public < wanted).then(|| {
            format!(
                "server.connections.max_connections = {wanted} does not fit the limit of {limit} open files, of which \
                 {reserved} are kept for providers, ledger and files: the public listener takes {public} connections, \
                 the admin listener {admin}; raise the limit (LimitNOFILE= of systemd, --ulimit nofile= of a \
                 container, ulimit -n of a shell), or lower server.connections.max_connections"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_limit_both_listeners_and_the_way_out_have_a_share_and_all_fits() {
        for limit in (64..3_000).chain([4_096, 20_000, 524_288, 1 << 30]) {
            for (outgoing, wanted) in [(0, 10_000), (256, 10_000), (5_000, 100_000), (64, 20)] {
                let shares = Shares::of(Some(limit), outgoing, wanted);
                let used = listener::descriptors(shares.public) + listener::descriptors(shares.admin);
                assert!(used + shares.reserved <= usize::try_from(limit).unwrap(), "{limit} {outgoing} {shares:?}");
                assert!(shares.public >= 1 && shares.admin >= ADMIN_LEAST.min(wanted), "{shares:?}");
                assert_eq!(shares.complaint().is_some(), shares.public < wanted, "{shares:?}");
            }
        }
    }

    #[test]
    fn what_fits_is_as_configured() {
        assert_eq!(Shares::of(Some(1 << 20), 256, 10_000).public, 10_000);
        assert_eq!(Shares::of(Some(20_000), 384, 10_000).public, 10_000);
        let without_limit = Shares::of(None, 256, 10_000);
        assert_eq!((without_limit.public, without_limit.complaint()), (10_000, None));
        let usual = Shares::of(Some(1_024), 256, 10_000).complaint().unwrap();
        assert!(usual.contains("1024 open files") && usual.contains("LimitNOFILE="), "{usual}");
    }
}
