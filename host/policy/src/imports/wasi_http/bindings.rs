//! The interfaces of WASI in Rust, generated from `wit/wasi`.

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unimplemented,
    clippy::todo,
    reason = "generated from the WIT files, which have the documentation"
)]
mod generated {
    use crate::imports::wasi_http::{fields, poll, request, response, server, streams};

    wasmtime::component::bindgen!({
        inline: "
            package patchbay:wasi;
            world outgoing {
                import wasi:http/types@0.2.12;
                import wasi:http/outgoing-handler@0.2.12;
            }
        ",
        path: ["../../wit/wasi/io.wit", "../../wit/wasi/clocks.wit", "../../wit/wasi/http.wit"],
        imports: {
            "wasi:io/poll.poll": async | trappable,
            "wasi:io/poll.[method]pollable.block": async | trappable,
            default: trappable,
        },
        require_store_data_send: true,
        with: {
            "wasi:io/error.error": streams::Failure,
            "wasi:io/poll.pollable": poll::Pollable,
            "wasi:io/streams.input-stream": streams::InputStream,
            "wasi:io/streams.output-stream": streams::OutputStream,
            "wasi:http/types.fields": fields::Fields,
            "wasi:http/types.outgoing-request": request::OutgoingRequest,
            "wasi:http/types.request-options": request::RequestOptions,
            "wasi:http/types.outgoing-body": request::OutgoingBody,
            "wasi:http/types.future-incoming-response": response::FutureResponse,
            "wasi:http/types.incoming-response": response::IncomingResponse,
            "wasi:http/types.incoming-body": response::IncomingBody,
            "wasi:http/types.future-trailers": response::FutureTrailers,
            "wasi:http/types.incoming-request": server::IncomingRequest,
            "wasi:http/types.response-outparam": server::ResponseOutparam,
            "wasi:http/types.outgoing-response": server::OutgoingResponse,
        },
    });
}

pub(super) use generated::wasi::clocks::monotonic_clock;
pub(super) use generated::wasi::http::{outgoing_handler, types};
pub(super) use generated::wasi::io::{error, poll, streams};
