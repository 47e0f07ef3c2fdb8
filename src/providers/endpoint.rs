//! Provider endpoints.

use std::fmt;
use std::net::IpAddr;

use http::HeaderValue;
use http::uri::{Authority, Scheme};

use super::encode_error::EncodeError;

/// The origin of a provider: `https://host[:port]`, or plain `http` on loopback.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    /// The same as URI with the path `/`, and as header.
    root: http::Uri,
    host: HeaderValue,
}

impl Endpoint {
    /// Parses `https://host[:port]`.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|_| "is not a URL; write \"https://host\"".to_owned())?;
        let (Some(scheme), Some(authority)) = (uri.scheme().cloned(), uri.authority().cloned()) else {
            return Err("needs a scheme and a host; write \"https://host\"".to_owned());
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err("must be scheme and host only; the driver knows the path".to_owned());
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| "has no valid host".to_owned())?;
        let root = Self::join(&scheme, &authority, "/").map_err(|_| "is not an origin".to_owned())?;
        let endpoint = Self { scheme, authority, root, host };
        match endpoint.scheme.as_str() {
            "https" => Ok(endpoint),
            "http" if endpoint.is_loopback() => Ok(endpoint),
            "http" => Err("is plain http, which is for loopback addresses only; write \"https://…\"".to_owned()),
            _ => Err("must begin with https://".to_owned()),
        }
    }

    /// A link-local metadata service, which has no TLS. It cannot be written in the configuration.
    pub(super) fn link_local(host: &'static str) -> Self {
        let (scheme, authority) = (Scheme::HTTP, Authority::from_static(host));
        let root = Self::join(&scheme, &authority, "/").unwrap_or_default();
        Self { scheme, authority, root, host: HeaderValue::from_static(host) }
    }

    /// Host, and port if it is not the default one: the `Host` header, and the label in metrics.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Whether the transport is encrypted.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Whether the host is loopback.
    pub fn is_loopback(&self) -> bool {
        self.authority.host().eq_ignore_ascii_case("localhost") || self.address().is_some_and(|ip| ip.is_loopback())
    }

    /// The IP address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.authority.host().trim_matches(['[', ']']).parse().ok()
    }

    /// Whether it uses TLS.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The absolute URI of `path_and_query` at this endpoint.
    ///
    /// # Errors
    /// When `path_and_query` is invalid. The codecs percent-encode, so that is a bug in a codec.
    pub fn uri(&self, path_and_query: &str) -> Result<http::Uri, EncodeError> {
        Ok(Self::join(&self.scheme, &self.authority, path_and_query)?)
    }

    /// The URI of the path `/`.
    pub fn root(&self) -> &http::Uri {
        &self.root
    }

    /// [`Endpoint::authority`] as the `Host` header.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    fn join(scheme: &Scheme, authority: &Authority, path_and_query: &str) -> Result<http::Uri, http::Error> {
        let builder = http::Uri::builder().scheme(scheme.clone()).authority(authority.clone());
        builder.path_and_query(path_and_query).build()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in ["https://cloudauth.aliyuncs.com", "http://127.0.0.1:8080", "http://localhost:1/", "http://[::1]:1"]
        {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1", "ftp://127.0.0.1", "cloudauth.aliyuncs.com", "https://h/path", "https://u@h", ""]
        {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
