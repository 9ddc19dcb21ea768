//! Asks over HTTP with `wstd`, a library that knows nothing of the router, as the user part of the Request-URI says.

use patchbay_sdk::prelude::*;
use wstd::future::FutureExt;
use wstd::http::{Body, Client, Request as HttpRequest};
use wstd::runtime::{block_on, spawn};

/// Calls to the users below ask the URL in the setting `url` first; all others are routed.
#[derive(Default)]
pub struct Web;

#[patchbay_sdk::policy]
impl Policy for Web {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        if *request.method() == Method::Register {
            return Ok(save());
        }
        let user = request.uri().user().unwrap_or_default().into_owned();
        let url = settings::get("url").unwrap_or_default();
        Ok(match user.as_str() {
            "ask" => shown(block_on(ask(url, b"hello".to_vec(), None))),
            "hurry" => shown(block_on(ask(url, Vec::new(), Some(Duration::from_millis(50))))),
            "forbidden" => shown(block_on(ask("http://127.0.0.1:1/".into(), Vec::new(), None))),
            "flood" => shown(block_on(ask(url, vec![b'x'; (1 << 20) + 1], None))),
            "two" => shown(block_on(async {
                let (one, other) = (spawn(ask(url.clone(), b"1".to_vec(), None)), spawn(ask(url, b"2".to_vec(), None)));
                Ok(format!("{} {}", one.await?, other.await?))
            })),
            "timer" => shown(block_on(async {
                let answer = ask(url, Vec::new(), None).timeout(wstd::time::Duration::from_millis(50)).await;
                answer.unwrap_or_else(|_| Err("the timer was first".into()))
            })),
            slow if slow.starts_with("slow") => {
                let asked = block_on(ask(url, Vec::new(), None));
                asked.map_err(Error::new)?;
                relay(location::lookup(request.uri())?)
            }
            _ => relay(location::lookup(request.uri())?),
        })
    }
}

type Text = std::result::Result<String, String>;

async fn ask(url: String, body: Vec<u8>, timeout: Option<Duration>) -> Text {
    let mut client = Client::new();
    if let Some(timeout) = timeout {
        client.set_first_byte_timeout(timeout);
    }
    let request = HttpRequest::post(url).header("X-A", "1").body(Body::from(body));
    let answer = async {
        let mut response = client.send(request?).await?;
        let server = response.headers().get("X-Server").cloned();
        let text = response.body_mut().str_contents().await?.to_owned();
        let server = server.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok::<_, wstd::http::Error>(format!("{} {text} {server}", response.status().as_u16()))
    };
    answer.await.map_err(|error| format!("{error:?}"))
}

/// A reply that tells what came: 486 with `X-Result`, or 480 with `X-Error`.
fn shown(result: Text) -> Verdict {
    match result {
        Ok(text) => reply(486).header("X-Result", text),
        Err(text) => reply(480).header("X-Error", text.replace(['\r', '\n'], " ")),
    }
}
