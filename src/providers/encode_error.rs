use http::header::InvalidHeaderValue;

/// Why a driver could not build a request. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The credential's scheme is not the driver's.
    #[error("the credential is of a kind that this driver cannot sign with")]
    ForeignCredential,
    /// A signed header contains something other than visible ASCII.
    #[error("a header that is signed holds other characters than visible ASCII")]
    UnsignableHeader,
    /// The parts do not form a valid HTTP request.
    #[error("the parts do not make an HTTP request: {0}")]
    Http(#[from] http::Error),
}

impl From<InvalidHeaderValue> for EncodeError {
    fn from(error: InvalidHeaderValue) -> Self {
        Self::Http(error.into())
    }
}
