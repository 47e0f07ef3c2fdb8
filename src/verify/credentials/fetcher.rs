//! Does the I/O for the steps of [`crate::providers::source`], which do none themselves.
//!
//! Invariants: no redirect is followed and no proxy is taken from the environment; bodies and files are read up to a
//! cap; every wait has a limit; no text from the other side, no URL and no path leaves this module.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::domain::clock::{Clock, Ids};
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::providers::Stamp;
use crate::providers::source::{Ask, Granted, Miss, MissReason, Step};
use crate::verify::outbound::client::{Client, Clients, Unusable, read_capped};
use crate::verify::outbound::settings::Outbound;

/// The connect timeout for the local network. The vendor's clients wait 1 s for the metadata service, 5 s for others.
const CONNECT_NEAR: Duration = Duration::from_secs(1);
/// See [`CONNECT_NEAR`].
const CONNECT_FAR: Duration = Duration::from_secs(5);
/// The maximum number of steps of one fetch, however long a chain of profiles is.
const MOST_STEPS: usize = 64;
/// In bytes. Profiles and tokens have a few kilobytes.
const LARGEST_FILE: u64 = 1024 * 1024;
/// The time limit for reading a file.
const FILE_LIMIT: Duration = Duration::from_secs(5);

/// Fetches credentials from the services and files that provide them.
#[derive(Debug)]
pub(in crate::verify) struct Fetcher {
    /// For this machine and its network; never through a proxy.
    near: Client,
    /// For everything else: the provider's outbound settings without its pins, which only match its own certificate.
    far: Client,
    outbound: Outbound,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
}

impl Fetcher {
    /// A fetcher with the outbound settings of the provider.
    pub(in crate::verify) fn new(
        provider: &Outbound,
        clients: &mut Clients,
        clock: Clock,
        ids: Ids,
    ) -> Result<Self, Unusable> {
        let outbound = Outbound { connect_timeout: CONNECT_FAR, pins: Vec::new(), ..provider.clone() };
        Ok(Self {
            near: clients.by(Outbound::direct(CONNECT_NEAR))?,
            far: clients.by(outbound.clone())?,
            outbound,
            clock,
            ids,
        })
    }

    pub(super) fn goes_like(&self, other: &Self) -> bool {
        self.outbound == other.outbound
    }

    /// Runs the steps of `source` from `step` to the end.
    ///
    /// # Errors
    /// One `Miss` per source tried; that of `source` as a whole after `MOST_STEPS` steps.
    pub(super) async fn fetch(&self, source: &'static str, mut step: Step) -> Result<Granted, Vec<Miss>> {
        for _ in 0..MOST_STEPS {
            step = match step {
                Step::Done(granted) => return Ok(granted),
                Step::Failed(misses) => return Err(misses),
                Step::Read(path, then) => then(timeout(FILE_LIMIT, read(&path)).await.ok().flatten()),
                Step::Ask(ask, then) => {
                    let limit = ask.limit;
                    let answer = timeout(limit, self.ask(ask)).await.unwrap_or(Err(MissReason::Timeout));
                    then((answer, self.clock.wall()))
                }
            };
        }
        Err(vec![Miss { source, reason: MissReason::TooManySteps, code: None }])
    }

    async fn ask(&self, ask: Ask) -> Result<Response<Bytes>, MissReason> {
        let stamp = Stamp { now: self.clock.wall(), nonce: self.ids.nonce().to_string() };
        let request = (ask.compose)(&stamp).ok().and_then(|request| reqwest::Request::try_from(request).ok());
        let client = if ask.is_local { &self.near } else { &self.far };
        let sent = client.send(request.ok_or(MissReason::RequestForm)?).await;
        let mut response = sent.map_err(|fault| reason(&fault))?;
        let body = read_capped(&mut response).await.map_err(|fault| reason(&fault))?;
        let mut answer = Response::new(body);
        *answer.status_mut() = response.status();
        Ok(answer)
    }
}

fn reason(fault: &Fault) -> MissReason {
    match (fault.outcome, fault.reason) {
        (Outcome::Unreachable | Outcome::SkippedExhausted, _) => MissReason::Unreachable,
        (Outcome::Timeout, _) => MissReason::Timeout,
        (_, Reason::TooBig) => MissReason::TooBig,
        _ => MissReason::Interrupted,
    }
}

async fn read(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let file = tokio::fs::File::open(path).await.ok()?;
    let mut content = Zeroizing::new(Vec::with_capacity(8 * 1024));
    let read = file.take(LARGEST_FILE + 1).read_to_end(&mut content).await.ok()?;
    (read as u64 <= LARGEST_FILE).then_some(content)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use prometheus::Registry;
    use uuid::Uuid;

    use super::*;
    use crate::domain::personal::Secret;
    use crate::verify::outbound::dns::{Names, System};
    use crate::verify::outbound::pin::Pin;
    use crate::verify::outbound::settings::Proxy;

    #[tokio::test]
    async fn a_source_that_never_ends_has_failed_with_a_reason() {
        fn another() -> Step {
            Step::Read("/dev/null".into(), Box::new(|_| another()))
        }
        let names = Names::new(Arc::new(System), &Registry::new()).unwrap();
        let (clock, ids) = (Clock::fixed(Timestamp::UNIX_EPOCH), Ids::new(Uuid::nil, Uuid::nil));
        let provider = Outbound::direct(Duration::from_secs(1));
        let fetcher = Fetcher::new(&provider, &mut Clients::new(Arc::new(names), None), clock, ids).unwrap();
        let missed = fetcher.fetch("profile", another()).await.unwrap_err();
        assert_eq!(missed, [Miss { source: "profile", reason: MissReason::TooManySteps, code: None }]);
    }

    #[test]
    fn the_machine_and_its_network_are_never_asked_through_the_proxy_and_nobody_by_the_providers_pins() {
        let names = Names::new(Arc::new(System), &Registry::new()).unwrap();
        let proxy = Proxy { url: "http://proxy.example:1".to_owned(), login: Some(Secret::new("a:b")) };
        let pins = vec![Pin::parse(&"0".repeat(64)).unwrap()];
        let provider = Outbound { proxy: Some(proxy), pins, ..Outbound::direct(Duration::from_secs(1)) };
        let (clock, ids) = (Clock::fixed(Timestamp::UNIX_EPOCH), Ids::new(Uuid::nil, Uuid::nil));
        let fetcher = Fetcher::new(&provider, &mut Clients::new(Arc::new(names), None), clock, ids).unwrap();
        assert_eq!((fetcher.near.is_proxied(), fetcher.far.is_proxied()), (false, true));
        assert!(fetcher.outbound.pins.is_empty());
    }
}
