//! Why a request could not be made.

use http::header::InvalidHeaderValue;

/// Why a driver could not make a request. Nothing has been sent then.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The credential has another scheme than the driver signs with.
    #[error("the credential is of a kind that this driver cannot sign with")]
    ForeignCredential,
    /// A header that has to be signed holds something other than visible ASCII.
    #[error("a header that is signed holds other characters than visible ASCII")]
    UnsignableHeader,
    /// The parts do not make an HTTP request.
    #[error("the parts do not make an HTTP request: {0}")]
    Http(#[from] http::Error),
}

impl From<InvalidHeaderValue> for EncodeError {
    fn from(error: InvalidHeaderValue) -> Self {
        Self::Http(error.into())
    }
}
