//! The side of `wasi:http/types` that answers requests. A policy gets none, so there is nobody whom a response could go to; a client that
//! imports the whole interface finds it here.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::types::{
    ErrorCode, HostIncomingRequest, HostOutgoingResponse, HostResponseOutparam, Method, Scheme,
};
use super::fields::Fields;
use super::request::OutgoingBody;
use super::response::IncomingBody;
use crate::host::Host;
use crate::state::State;

/// There is none.
pub enum IncomingRequest {}

/// There is none.
pub enum ResponseOutparam {}

/// A response to nobody.
pub struct OutgoingResponse {
    status: u16,
    headers: Fields,
}

impl<H: Host> HostIncomingRequest for State<H> {
    fn method(&mut self, request: Resource<IncomingRequest>) -> Result<Method> {
        match *self.table().get(&request)? {}
    }

    fn path_with_query(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        match *self.table().get(&request)? {}
    }

    fn scheme(&mut self, request: Resource<IncomingRequest>) -> Result<Option<Scheme>> {
        match *self.table().get(&request)? {}
    }

    fn authority(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        match *self.table().get(&request)? {}
    }

    fn headers(&mut self, request: Resource<IncomingRequest>) -> Result<Resource<Fields>> {
        match *self.table().get(&request)? {}
    }

    fn consume(
        &mut self,
        request: Resource<IncomingRequest>,
    ) -> Result<std::result::Result<Resource<IncomingBody>, ()>> {
        match *self.table().get(&request)? {}
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> Result<()> {
        match self.table().delete(request)? {}
    }
}

impl<H: Host> HostResponseOutparam for State<H> {
    fn set(
        &mut self,
        outparam: Resource<ResponseOutparam>,
        _: std::result::Result<Resource<OutgoingResponse>, ErrorCode>,
    ) -> Result<()> {
        match self.table().delete(outparam)? {}
    }

    fn drop(&mut self, outparam: Resource<ResponseOutparam>) -> Result<()> {
        match self.table().delete(outparam)? {}
    }
}

impl<H: Host> HostOutgoingResponse for State<H> {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingResponse>> {
        let headers = self.table().delete(headers)?;
        let status = 200;
        Ok(self.table().push(OutgoingResponse { status, headers })?)
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> Result<u16> {
        Ok(self.table().get(&response)?.status)
    }

    fn set_status_code(
        &mut self,
        response: Resource<OutgoingResponse>,
        status: u16,
    ) -> Result<std::result::Result<(), ()>> {
        self.table().get_mut(&response)?.status = status;
        Ok(Ok(()))
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> Result<Resource<Fields>> {
        let held = self.web().held();
        let entries = self.table().get(&response)?.headers.entries().to_vec();
        Ok(self.table().push(Fields::complete(entries, held)?)?)
    }

    /// It could go nowhere.
    fn body(
        &mut self,
        response: Resource<OutgoingResponse>,
    ) -> Result<std::result::Result<Resource<OutgoingBody>, ()>> {
        self.table().get(&response)?;
        Ok(Err(()))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> Result<()> {
        self.table().delete(response)?;
        Ok(())
    }
}
