//! `interface http`: the one call that waits.
//!
//! The fiber of the guest is suspended while the response is awaited; its worker goes on with something else.

use std::time::{Duration, Instant};

use wasmtime::{AsContextMut, Caller, Result};

use super::table::{Interface, ResultKind, Signature};
use super::{Answer, Call};
use crate::direct::{self, Stored};
use crate::host::{Host, HostError, HttpAnswer, HttpRequest, HttpResponse};
use crate::state::State;

const NAME: &str = "fetch";
/// What `http.request` is in the parameters of a core module, and where the response goes.
const PARAMETERS: [&str; 11] = ["i32"; 11];

/// A request as a core module hands it over: pointers and lengths of method, URL, headers and body, whether there is a timeout, and the
/// timeout; then where the response goes.
type Flat = (i32, i32, i32, i32, i32, i32, i32, i32, i32, i32, i32);

pub(super) fn add<H: Host>(interface: &mut Interface<'_, H>) -> Result<()> {
    interface.component.func_wrap_async(
        NAME,
        |mut call: Call<'_, H>, (request,): (HttpRequest,)| {
            Box::new(async move { Ok((fetch(&mut call, request).await,)) })
        },
    )?;
    interface.direct.func_wrap_async(
        &interface.name,
        NAME,
        |caller: Caller<'_, State<H>>, parameters: Flat| Box::new(directly(caller, parameters)),
    )?;
    interface.signatures.push(Signature {
        interface: interface.name.clone(),
        name: NAME,
        parameters: PARAMETERS.to_vec(),
        result: ResultKind::Stored {
            size: <Answer<HttpResponse> as Stored>::SIZE,
            align: <Answer<HttpResponse> as Stored>::ALIGN,
        },
        waits: true,
    });
    Ok(())
}

async fn directly<H: Host>(mut caller: Caller<'_, State<H>>, parameters: Flat) -> Result<i64> {
    let (a, b, c, d, e, f, g, h, i, j, result) = parameters;
    let request = {
        let (memory, _) = direct::enter(&mut caller)?;
        direct::read::http_request(memory, [a, b, c, d, e, f, g, h, i, j])?
    };
    let answer = fetch(&mut caller, request).await;
    let (memory, state) = direct::enter(&mut caller)?;
    state.direct.store(memory, result, answer, &state.scratch)
}

async fn fetch<H: Host>(
    store: &mut (impl AsContextMut<Data = State<H>> + Send),
    request: HttpRequest,
) -> Answer<HttpResponse> {
    let began = Instant::now();
    let answer = {
        let mut context = store.as_context_mut();
        let answer = ask(context.data_mut(), request)?;
        context.data_mut().begin_wait();
        answer
    };
    let answer = answer.await;
    let mut context = store.as_context_mut();
    context.data_mut().end_wait(began, Instant::now());
    answer
}

/// Begins a request that has as long as it wants, and `hook_timeout` allows. This is the one door for requests over HTTP.
pub(super) fn ask<H: Host>(state: &mut State<H>, request: HttpRequest) -> Answer<HttpAnswer> {
    // In `init` nothing may be asked, and nothing can wait.
    state.acting()?;
    let left = state.time_left(Instant::now());
    let wanted = request
        .timeout_ms
        .map(|ms| Duration::from_millis(ms.into()));
    let limit = wanted.map_or(left, |wanted| wanted.min(left));
    if limit.is_zero() {
        return Err(match left.is_zero() {
            true => HostError::no_time_left(),
            // It has asked for no time at all.
            false => HostError::late(limit),
        });
    }
    Ok(state.acting()?.fetch(request, limit))
}
