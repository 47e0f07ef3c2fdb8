//! The one place that makes HTTP clients: how a provider is reached, and by which settings.
//!
//! Invariants: no redirect is followed, nothing is retried, no proxy is taken from the environment; a loopback endpoint
//! is never sent through a proxy; providers with equal settings share a client, because its roots and connections are
//! dear. To add a setting: a field of [`Outbound`], its key in `app::config::outbound`, its line here.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::dns::{self, Names, Resolver};
use super::settings::{Outbound, Proxy};
use super::trust::{self, Trust};
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::providers::Endpoint;

/// Providers answer in a few hundred bytes. What is longer than this is not an answer.
const BODY_CAP: usize = 64 * 1024;

/// A client, and whether a proxy stands before it.
#[derive(Debug, Clone)]
pub(in crate::verify) struct Client {
    http: reqwest::Client,
    is_proxied: bool,
}

/// The clients of one graph.
#[derive(Debug)]
pub(in crate::verify) struct Clients {
    names: Arc<Names>,
    trust: Arc<Trust>,
    made: Vec<(Outbound, Client)>,
    /// Those of the graph before this one, until this one is complete.
    before: Vec<(Outbound, Client)>,
}

/// A client cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) struct Unusable;

impl Clients {
    /// No client yet; where one of `before` fits, it is taken, with its connections.
    pub(in crate::verify) fn new(names: Arc<Names>, before: Option<&Self>) -> Self {
        let (trust, before) = match before {
            Some(before) => (Arc::clone(&before.trust), before.made.clone()),
            None => (Arc::new(Trust::new()), Vec::new()),
        };
        Self { names, trust, made: Vec::new(), before }
    }

    /// Lets go of those that the graph before this one had alone.
    pub(in crate::verify) fn complete(self) -> Self {
        Self { before: Vec::new(), ..self }
    }

    /// The times of the table of names, as configured now.
    pub(in crate::verify) fn keep_names_for(&self, times: dns::Config) {
        self.names.keep_for(times);
    }

    /// The client that leads to `endpoint`: one that was made before, where nothing differs.
    pub(in crate::verify) fn to(&mut self, endpoint: &Endpoint, outbound: &Outbound) -> Result<Client, Unusable> {
        self.by(outbound.to(endpoint))
    }

    /// The client with these settings.
    pub(in crate::verify) fn by(&mut self, outbound: Outbound) -> Result<Client, Unusable> {
        if let Some((_, client)) = self.made.iter().find(|(made, _)| *made == outbound) {
            return Ok(client.clone());
        }
        let known = self.before.iter().find(|(made, _)| *made == outbound).map(|(_, client)| client.clone());
        let client = known.map_or_else(|| self.make(&outbound), Ok)?;
        self.made.push((outbound, client.clone()));
        Ok(client)
    }

    fn make(&self, outbound: &Outbound) -> Result<Client, Unusable> {
        let tls = self.trust.client_config(outbound).map_err(|_| Unusable)?;
        let resolver = Resolver { names: Arc::clone(&self.names), family: outbound.family };
        #[expect(clippy::disallowed_methods, reason = "this is the one place that makes clients")]
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            // Those of the environment.
            .no_proxy()
            .connect_timeout(outbound.connect_timeout)
            .pool_idle_timeout(outbound.idle_timeout)
            .pool_max_idle_per_host(1024)
            .tcp_nodelay(true);
        if let Some(proxy) = &outbound.proxy {
            builder = builder.proxy(proxy.build().map_err(|_| Unusable)?);
        }
        let http = builder.build().map_err(|_| Unusable)?;
        Ok(Client { http, is_proxied: outbound.proxy.is_some() })
    }
}

impl Proxy {
    fn build(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        // Plain http is for loopback, which never gets here.
        let proxy = reqwest::Proxy::https(&self.url)?;
        Ok(match self.login.as_ref().and_then(|login| login.expose().split_once(':')) {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        })
    }
}

impl Client {
    /// Whether what it sends may go through a proxy.
    #[cfg(test)]
    pub(in crate::verify) fn is_proxied(&self) -> bool {
        self.is_proxied
    }

    /// Sends `request`, once.
    ///
    /// # Errors
    /// When no answer has begun. Only a failed connection is certain to have sent nothing.
    pub(in crate::verify) async fn send(&self, request: reqwest::Request) -> Result<reqwest::Response, Fault> {
        self.http.execute(request).await.map_err(|error| {
            if error.is_connect() {
                Fault::new(Outcome::Unreachable, self.why_unreachable(&error))
            } else {
                fault_of(error)
            }
        })
    }

    fn why_unreachable(&self, error: &reqwest::Error) -> Reason {
        if let Some(reason) = trust::refusal(error) {
            reason
        } else if error.is_dns() {
            Reason::NameUnresolved
        } else if self.is_proxied {
            // What is between us and the proxy is all that we see of the way; what it says is no word of the
            // provider's.
            Reason::ProxyFailed
        } else {
            Reason::Unspecified
        }
    }
}

/// Reads a body up to the cap.
pub(in crate::verify) async fn read_capped(response: &mut reqwest::Response) -> Result<Bytes, Fault> {
    let Some(first) = response.chunk().await.map_err(fault_of)? else { return Ok(Bytes::new()) };
    let Some(second) = response.chunk().await.map_err(fault_of)? else {
        return if first.len() > BODY_CAP { Err(Fault::unreadable(Reason::TooBig)) } else { Ok(first) };
    };
    let mut body = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if body.len() + chunk.len() > BODY_CAP {
            return Err(Fault::unreadable(Reason::TooBig));
        }
        body.extend_from_slice(&chunk);
        next = response.chunk().await.map_err(fault_of)?;
    }
    Ok(body.freeze())
}

/// What an error after the connection means; its text, which may hold the URL, ends here.
pub(in crate::verify) fn fault_of(error: reqwest::Error) -> Fault {
    if error.is_timeout() {
        Fault::new(Outcome::Timeout, Reason::Unspecified)
    } else {
        Fault::new(Outcome::Interrupted, Reason::Unspecified)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::personal::Secret;
    use crate::verify::outbound::dns::System;

    fn clients(before: Option<&Clients>) -> Clients {
        let names = Names::new(Arc::new(System), &prometheus::Registry::new()).unwrap();
        Clients::new(Arc::new(names), before)
    }

    #[test]
    fn equal_settings_share_a_client_also_with_the_graph_before_and_others_do_not() {
        let [far, here] = ["https://provider.example", "http://127.0.0.1:1"].map(|url| Endpoint::parse(url).unwrap());
        let direct = Outbound::direct(Duration::from_secs(1));
        let proxy = |login: &str| Proxy { url: "http://proxy.example:1".to_owned(), login: Some(Secret::new(login)) };
        let proxied = Outbound { proxy: Some(proxy("a:b")), ..direct.clone() };
        let mut first = clients(None);
        for outbound in [&direct, &proxied] {
            first.to(&far, outbound).unwrap();
            first.to(&here, outbound).unwrap();
        }
        // The one straight, for this machine too, and the one through the proxy.
        assert_eq!(first.made.len(), 2);
        let mut second = clients(Some(&first));
        second.to(&far, &direct).unwrap();
        second.to(&far, &Outbound { proxy: Some(proxy("a:c")), ..direct.clone() }).unwrap();
        let second = second.complete();
        assert_eq!((second.made.len(), second.before.len()), (2, 0));
        assert!(second.made.iter().all(|(outbound, _)| *outbound != proxied));
    }

    #[test]
    fn nothing_shows_the_login_of_a_proxy() {
        let proxy = Proxy { url: "http://proxy.example:1".to_owned(), login: Some(Secret::new("user:s3cret")) };
        let mut clients = clients(None);
        let outbound = Outbound { proxy: Some(proxy), ..Outbound::direct(Duration::from_secs(1)) };
        clients.to(&Endpoint::parse("https://provider.example").unwrap(), &outbound).unwrap();
        let shown = format!("{outbound:?} {clients:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("dXNlcjpzM2NyZXQ"), "{shown}");
    }
}
