//! The answer: `future-incoming-response`, the response in it and its body.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::types::{
    ErrorCode, HostFutureIncomingResponse, HostFutureTrailers, HostIncomingBody,
    HostIncomingResponse,
};
use super::exchange::{Exchange, Taken};
use super::fields::Fields;
use super::poll::Pollable;
use super::streams::InputStream;
use crate::host::Host;
use crate::state::State;

/// A response that may not be there yet.
pub struct FutureResponse {
    pub(super) exchange: Exchange,
}

/// A response, all of which is there.
pub struct IncomingResponse {
    exchange: Exchange,
    status: u16,
    is_consumed: bool,
}

/// The body of a response.
pub struct IncomingBody {
    exchange: Exchange,
    is_read: bool,
}

/// The trailers of a response: none are kept.
#[derive(Default)]
pub struct FutureTrailers {
    is_taken: bool,
}

type Answer<T, E = ()> = std::result::Result<T, E>;

impl<H: Host> HostFutureIncomingResponse for State<H> {
    fn subscribe(&mut self, future: Resource<FutureResponse>) -> Result<Resource<Pollable>> {
        let exchange = self.table().get(&future)?.exchange.clone();
        Ok(self.table().push(Pollable::Response(exchange))?)
    }

    fn get(
        &mut self,
        future: Resource<FutureResponse>,
    ) -> Result<Option<Answer<Answer<Resource<IncomingResponse>, ErrorCode>>>> {
        let exchange = self.table().get(&future)?.exchange.clone();
        Ok(match exchange.take() {
            Taken::NotYet => None,
            Taken::Before => Some(Err(())),
            Taken::Failed(code) => Some(Ok(Err(code))),
            Taken::Response { status } => {
                let response = IncomingResponse {
                    exchange,
                    status,
                    is_consumed: false,
                };
                Some(Ok(Ok(self.table().push(response)?)))
            }
        })
    }

    fn drop(&mut self, future: Resource<FutureResponse>) -> Result<()> {
        self.table().delete(future)?;
        Ok(())
    }
}

impl<H: Host> HostIncomingResponse for State<H> {
    fn status(&mut self, response: Resource<IncomingResponse>) -> Result<u16> {
        Ok(self.table().get(&response)?.status)
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> Result<Resource<Fields>> {
        let held = self.web().held();
        let entries = self.table().get(&response)?.exchange.response_headers();
        Ok(self.table().push(Fields::complete(entries, held)?)?)
    }

    fn consume(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> Result<Answer<Resource<IncomingBody>>> {
        let response = self.table().get_mut(&response)?;
        if std::mem::replace(&mut response.is_consumed, true) {
            return Ok(Err(()));
        }
        let body = IncomingBody {
            exchange: response.exchange.clone(),
            is_read: false,
        };
        Ok(Ok(self.table().push(body)?))
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> Result<()> {
        self.table().delete(response)?;
        Ok(())
    }
}

impl<H: Host> HostIncomingBody for State<H> {
    fn stream(&mut self, body: Resource<IncomingBody>) -> Result<Answer<Resource<InputStream>>> {
        let body = self.table().get_mut(&body)?;
        if std::mem::replace(&mut body.is_read, true) {
            return Ok(Err(()));
        }
        let exchange = body.exchange.clone();
        Ok(Ok(self.table().push(InputStream { exchange })?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> Result<Resource<FutureTrailers>> {
        self.table().delete(body)?;
        Ok(self.table().push(FutureTrailers::default())?)
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> Result<()> {
        self.table().delete(body)?;
        Ok(())
    }
}

impl<H: Host> HostFutureTrailers for State<H> {
    fn subscribe(&mut self, trailers: Resource<FutureTrailers>) -> Result<Resource<Pollable>> {
        self.table().get(&trailers)?;
        Ok(self.table().push(Pollable::Ready)?)
    }

    fn get(
        &mut self,
        trailers: Resource<FutureTrailers>,
    ) -> Result<Option<Answer<Answer<Option<Resource<Fields>>, ErrorCode>>>> {
        let trailers = self.table().get_mut(&trailers)?;
        if std::mem::replace(&mut trailers.is_taken, true) {
            return Ok(Some(Err(())));
        }
        Ok(Some(Ok(Ok(None))))
    }

    fn drop(&mut self, trailers: Resource<FutureTrailers>) -> Result<()> {
        self.table().delete(trailers)?;
        Ok(())
    }
}
