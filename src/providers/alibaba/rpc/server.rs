//! Server side of an action.

use bytes::Bytes;
use http::{Request, Response};

use super::action::Action;
use super::{gate, reply};
use crate::domain::verdict::Verdict;
use crate::providers::{Asked, CredentialStore, Refusal, ReplyTo, Service, Stamp};

#[derive(Debug)]
pub struct Server(pub &'static Action);

impl Service for Server {
    fn decode_request(
        &self,
        request: &Request<Bytes>,
        keys: &dyn CredentialStore,
        stamp: &Stamp,
    ) -> (Result<Asked, Refusal>, ReplyTo) {
        gate::decode(self.0, request, keys, stamp)
    }

    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes> {
        reply::encode(self.0, answer, reply_to)
    }
}
