//! `wasi:io/streams` and `wasi:io/error`: bodies, which lie in memory, so that nothing of them waits.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::error;
use super::bindings::streams::{self, HostInputStream, HostOutputStream, StreamError};
use super::bindings::types::ErrorCode;
use super::exchange::{Ended, Exchange};
use super::poll::Pollable;
use crate::host::{Host, HttpRequest};
use crate::state::State;

/// How much a guest is told that it may write at once.
const PERMIT: u64 = 64 << 10;

/// Why a stream has failed.
pub struct Failure(pub(super) ErrorCode);

/// The body of a response.
pub struct InputStream {
    pub(super) exchange: Exchange,
}

/// The body of a request.
pub struct OutputStream {
    pub(super) exchange: Exchange,
}

type Answer<T> = Result<std::result::Result<T, StreamError>>;

impl<H: Host> State<H> {
    fn streamed<T>(&mut self, result: std::result::Result<T, Ended>) -> Answer<T> {
        Ok(match result {
            Ok(value) => Ok(value),
            Err(Ended::Closed) => Err(StreamError::Closed),
            Err(Ended::Failed(code)) => {
                let failure = self.table().push(Failure(code))?;
                Err(StreamError::LastOperationFailed(failure))
            }
        })
    }

    fn input(&mut self, stream: &Resource<InputStream>) -> Result<Exchange> {
        Ok(self.table().get(stream)?.exchange.clone())
    }

    fn output(&mut self, stream: &Resource<OutputStream>) -> Result<Exchange> {
        Ok(self.table().get(stream)?.exchange.clone())
    }

    fn write_bytes(&mut self, stream: &Resource<OutputStream>, bytes: &[u8]) -> Answer<()> {
        let written = self.output(stream)?.write(bytes);
        self.streamed(written)
    }

    fn write_zero_bytes(&mut self, stream: &Resource<OutputStream>, length: u64) -> Answer<()> {
        let most = HttpRequest::MAX_BODY_BYTES + 1;
        let length = usize::try_from(length).unwrap_or(most).min(most);
        self.write_bytes(stream, &vec![0; length])
    }
}

impl<H: Host> error::Host for State<H> {}

impl<H: Host> error::HostError for State<H> {
    fn to_debug_string(&mut self, failure: Resource<Failure>) -> Result<String> {
        Ok(format!("{:?}", self.table().get(&failure)?.0))
    }

    fn drop(&mut self, failure: Resource<Failure>) -> Result<()> {
        self.table().delete(failure)?;
        Ok(())
    }
}

impl<H: Host> streams::Host for State<H> {}

impl<H: Host> HostInputStream for State<H> {
    fn read(&mut self, stream: Resource<InputStream>, length: u64) -> Answer<Vec<u8>> {
        let read = self.input(&stream)?.read(length);
        self.streamed(read)
    }

    fn blocking_read(&mut self, stream: Resource<InputStream>, length: u64) -> Answer<Vec<u8>> {
        HostInputStream::read(self, stream, length)
    }

    fn skip(&mut self, stream: Resource<InputStream>, length: u64) -> Answer<u64> {
        let read = self.input(&stream)?.read(length);
        self.streamed(read.map(|bytes| bytes.len() as u64))
    }

    fn blocking_skip(&mut self, stream: Resource<InputStream>, length: u64) -> Answer<u64> {
        HostInputStream::skip(self, stream, length)
    }

    fn subscribe(&mut self, stream: Resource<InputStream>) -> Result<Resource<Pollable>> {
        self.table().get(&stream)?;
        Ok(self.table().push(Pollable::Ready)?)
    }

    fn drop(&mut self, stream: Resource<InputStream>) -> Result<()> {
        self.table().delete(stream)?;
        Ok(())
    }
}

impl<H: Host> HostOutputStream for State<H> {
    fn check_write(&mut self, stream: Resource<OutputStream>) -> Answer<u64> {
        let writable = self.output(&stream)?.writable();
        self.streamed(writable.map(|()| PERMIT))
    }

    fn write(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> Answer<()> {
        self.write_bytes(&stream, &bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<OutputStream>,
        bytes: Vec<u8>,
    ) -> Answer<()> {
        self.write_bytes(&stream, &bytes)
    }

    fn flush(&mut self, stream: Resource<OutputStream>) -> Answer<()> {
        let writable = self.output(&stream)?.writable();
        self.streamed(writable)
    }

    fn blocking_flush(&mut self, stream: Resource<OutputStream>) -> Answer<()> {
        HostOutputStream::flush(self, stream)
    }

    fn subscribe(&mut self, stream: Resource<OutputStream>) -> Result<Resource<Pollable>> {
        self.table().get(&stream)?;
        Ok(self.table().push(Pollable::Ready)?)
    }

    fn write_zeroes(&mut self, stream: Resource<OutputStream>, length: u64) -> Answer<()> {
        self.write_zero_bytes(&stream, length)
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<OutputStream>,
        length: u64,
    ) -> Answer<()> {
        self.write_zero_bytes(&stream, length)
    }

    fn splice(
        &mut self,
        stream: Resource<OutputStream>,
        source: Resource<InputStream>,
        length: u64,
    ) -> Answer<u64> {
        let (to, from) = (self.output(&stream)?, self.input(&source)?);
        let spliced = to.writable().and_then(|()| {
            let bytes = from.read(length)?;
            to.write(&bytes)?;
            Ok(bytes.len() as u64)
        });
        self.streamed(spliced)
    }

    fn blocking_splice(
        &mut self,
        stream: Resource<OutputStream>,
        source: Resource<InputStream>,
        length: u64,
    ) -> Answer<u64> {
        HostOutputStream::splice(self, stream, source, length)
    }

    fn drop(&mut self, stream: Resource<OutputStream>) -> Result<()> {
        self.table().delete(stream)?;
        Ok(())
    }
}
