//! The only place that makes HTTP clients for outbound calls: a `Pool` for each endpoint of a provider, and reqwest's
//! client for the services that credentials are fetched from.
//!
//! Invariants: no redirect is followed, nothing is retried, no proxy is taken from the environment. A loopback endpoint
//! is never reached through a proxy. Providers with equal settings share their root store, and connections to the same
//! endpoint, because both are expensive. To add a setting: a field of [`Outbound`], its key in
//! `app::config::sections::outbound`, its lines here and in `Connector`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

pub(in crate::verify) use super::connect::Unusable;
use super::connect::{self, Connector};
use super::dns::{self, Names, Resolver};
use super::pool::{BODY_CAP, Pool};
use super::settings::{Outbound, Proxy};
use super::trust::Trust;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::providers::Endpoint;

/// Fetches credentials.
#[derive(Debug, Clone)]
pub(in crate::verify) struct Client {
    http: reqwest::Client,
    is_proxied: bool,
}

/// The HTTP clients of one runtime.
#[derive(Debug)]
pub(in crate::verify) struct Clients {
    names: Arc<Names>,
    trust: Arc<Trust>,
    made: Made,
    /// The clients of the previous runtime, until `complete` is called.
    before: Made,
}

#[derive(Debug, Clone, Default)]
struct Made {
    /// One per distinct [`Outbound`].
    clients: Vec<(Outbound, Client)>,
    /// One per endpoint and distinct [`Outbound`].
    pools: Vec<(Endpoint, Outbound, Pool)>,
}

impl Clients {
    /// An empty set. Clients of `before` with the same settings are reused, with their connections.
    pub(in crate::verify) fn new(names: Arc<Names>, before: Option<&Self>) -> Self {
        let (trust, before) = match before {
            Some(before) => (Arc::clone(&before.trust), before.made.clone()),
            None => (Arc::new(Trust::new()), Made::default()),
        };
        Self { names, trust, made: Made::default(), before }
    }

    /// Releases the clients of the previous runtime that were not reused.
    pub(in crate::verify) fn complete(self) -> Self {
        Self { before: Made::default(), ..self }
    }

    pub(in crate::verify) fn keep_names_for(&self, times: dns::Config) {
        self.names.keep_for(times);
    }

    /// The connections to `endpoint`: existing ones if their settings are the same.
    pub(in crate::verify) fn to(&mut self, endpoint: &Endpoint, outbound: &Outbound) -> Result<Pool, Unusable> {
        let outbound = outbound.to(endpoint);
        let pool = match self.made.pool(endpoint, &outbound).or_else(|| self.before.pool(endpoint, &outbound)) {
            Some(pool) => pool.clone(),
            None => Pool::new(self.connector(&outbound)?, endpoint, outbound.idle_timeout).ok_or(Unusable)?,
        };
        if self.made.pool(endpoint, &outbound).is_none() {
            self.made.pools.push((endpoint.clone(), outbound, pool.clone()));
        }
        Ok(pool)
    }

    /// The client for fetching credentials: an existing one if its settings are the same.
    pub(in crate::verify) fn by(&mut self, outbound: Outbound) -> Result<Client, Unusable> {
        if let Some(client) = self.made.client(&outbound) {
            return Ok(client.clone());
        }
        let client = self.before.client(&outbound).cloned().map_or_else(|| self.make(&outbound), Ok)?;
        self.made.clients.push((outbound, client.clone()));
        Ok(client)
    }

    pub(super) fn connector(&self, outbound: &Outbound) -> Result<Connector, Unusable> {
        let pools = self.made.pools.iter().chain(&self.before.pools);
        if let Some((.., pool)) = pools.into_iter().find(|(_, made, _)| made == outbound) {
            return Ok(pool.connector().clone());
        }
        let tls = self.trust.client_config(outbound).map_err(|_| Unusable)?;
        Connector::new(outbound, self.resolver(outbound), tls)
    }

    fn resolver(&self, outbound: &Outbound) -> Resolver {
        Resolver { names: Arc::clone(&self.names), family: outbound.family }
    }

    fn make(&self, outbound: &Outbound) -> Result<Client, Unusable> {
        let tls = self.trust.client_config(outbound).map_err(|_| Unusable)?;
        #[expect(clippy::disallowed_methods, reason = "this is the one place that makes clients")]
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(self.resolver(outbound))
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            // Without this header a server may compress an answer (RFC 9110, 12.5.3), which we could not read.
            .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
            // A client must read header lines that are folded (RFC 9112, 5.2).
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            // Ignores the proxies of the environment.
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

impl Made {
    fn client(&self, outbound: &Outbound) -> Option<&Client> {
        self.clients.iter().find(|(made, _)| made == outbound).map(|(_, client)| client)
    }

    fn pool(&self, endpoint: &Endpoint, outbound: &Outbound) -> Option<&Pool> {
        let is_it = |(to, made, _): &&(Endpoint, Outbound, Pool)| to == endpoint && made == outbound;
        self.pools.iter().find(is_it).map(|(.., pool)| pool)
    }
}

impl Proxy {
    fn build(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        // Plain http is allowed for loopback only, which never uses a proxy.
        let proxy = reqwest::Proxy::https(&self.url)?;
        Ok(match self.login.as_ref().and_then(|login| login.expose().split_once(':')) {
            Some((user, password)) => proxy.basic_auth(user, password),
            None => proxy,
        })
    }
}

impl Client {
    #[cfg(test)]
    pub(in crate::verify) fn is_proxied(&self) -> bool {
        self.is_proxied
    }

    /// Sends `request` without retries.
    ///
    /// # Errors
    /// No response has started. Only a failed connection guarantees that nothing was sent.
    pub(in crate::verify) async fn send(&self, request: reqwest::Request) -> Result<reqwest::Response, Fault> {
        self.http.execute(request).await.map_err(|error| match error.is_connect() {
            true => connect::fault_of(&error, self.is_proxied),
            false => fault_of(error),
        })
    }
}

/// Reads a body of at most `BODY_CAP` bytes.
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

/// Maps an error after the connection to a fault. Drops the error's text, which may contain the URL.
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
    fn equal_settings_share_connections_also_with_the_graph_before_and_others_do_not() {
        let [far, here] = ["https://provider.example", "http://127.0.0.1:1"].map(|url| Endpoint::parse(url).unwrap());
        let direct = Outbound::direct(Duration::from_secs(1));
        let proxy = |login: &str| Proxy { url: "http://proxy.example:1".to_owned(), login: Some(Secret::new(login)) };
        let proxied = Outbound { proxy: Some(proxy("a:b")), ..direct.clone() };
        let mut first = clients(None);
        for outbound in [&direct, &proxied] {
            first.to(&far, outbound).unwrap();
            first.to(&here, outbound).unwrap();
        }
        // Loopback is never proxied.
        let is_proxied = |clients: &Clients| -> Vec<bool> {
            clients.made.pools.iter().map(|(.., pool)| pool.connector().is_proxied()).collect()
        };
        assert_eq!(is_proxied(&first), [false, false, true]);
        let mut second = clients(Some(&first));
        let again = second.to(&far, &direct).unwrap();
        assert!(again.shares_with(first.made.pool(&far, &direct).unwrap()));
        let other = second.to(&far, &Outbound { proxy: Some(proxy("a:c")), ..direct.clone() }).unwrap();
        let second = second.complete();
        assert_eq!((is_proxied(&second), second.before.pools.len()), (vec![false, true], 0));
        assert!(first.made.pools.iter().all(|(.., pool)| !other.shares_with(pool)));
    }

    #[test]
    fn nothing_shows_the_login_of_a_proxy() {
        let proxy = Proxy { url: "http://proxy.example:1".to_owned(), login: Some(Secret::new("user:s3cret")) };
        let mut clients = clients(None);
        let outbound = Outbound { proxy: Some(proxy), ..Outbound::direct(Duration::from_secs(1)) };
        clients.to(&Endpoint::parse("https://provider.example").unwrap(), &outbound).unwrap();
        clients.by(outbound.clone()).unwrap();
        let shown = format!("{outbound:?} {clients:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("dXNlcjpzM2NyZXQ"), "{shown}");
    }
}
