//! Server side of the service.

use bytes::Bytes;
use http::{Request, Response};

use super::{gate, reply};
use crate::domain::verdict::Verdict;
use crate::providers::{Asked, CredentialStore, Refusal, ReplyTo, Service, Stamp};

#[derive(Debug)]
pub(super) struct Server;

impl Service for Server {
    fn decode_request(
        &self,
        request: &Request<Bytes>,
        keys: &dyn CredentialStore,
        stamp: &Stamp,
    ) -> (Result<Asked, Refusal>, ReplyTo) {
        gate::decode(request, keys, stamp)
    }

    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes> {
        reply::encode(answer, reply_to)
    }
}
