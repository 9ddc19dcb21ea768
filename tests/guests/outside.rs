//! Reaches beyond the router, as the user part of the Request-URI says.

use patchbay_sdk::prelude::*;

/// Calls to `ask` and to users that begin with `slow` ask the URL in the setting `url` first, one to `forbidden` asks where nothing is granted; calls to `count`,
/// `keep`, `kept` and `wrong-key` use the key-value store. All others are routed.
#[derive(Default)]
pub struct Outside;

#[patchbay_sdk::policy]
impl Policy for Outside {
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
            "ask" => shown(http::get(url).send().map(|response| {
                let server = response.header("X-Server").unwrap_or_default().to_owned();
                format!("{} {} {server}", response.status(), response.text())
            })),
            "hurry" => shown(
                http::get(url)
                    .timeout(Duration::from_millis(50))
                    .send()
                    .map(|response| response.status().to_string()),
            ),
            "at-once" => shown(
                http::get(url)
                    .timeout(Duration::ZERO)
                    .send()
                    .map(|response| response.status().to_string()),
            ),
            "forbidden" => {
                shown(http::get("http://127.0.0.1:1/").send().map(|response| response.status().to_string()))
            }
            "count" => shown(
                keyvalue::increment_for("calls/total", 1, Duration::from_secs(3600))
                    .map(|calls| calls.to_string()),
            ),
            "keep" => shown(keyvalue::set("calls/kept", "kept").map(|()| "set".to_owned())),
            "kept" => shown(keyvalue::get_text("calls/kept").map(|value| value.unwrap_or_default())),
            "keys" => shown(keyvalue::list_keys("calls/", "").map(|keys| keys.join(" "))),
            "wrong-key" => shown(keyvalue::exists("other").map(|exists| exists.to_string())),
            slow if slow.starts_with("slow") => {
                http::get(url).send()?;
                relay(location::lookup(request.uri())?)
            }
            _ => relay(location::lookup(request.uri())?),
        })
    }
}

/// A reply that tells what came: 486 with `X-Result`, or 480 with `X-Error`.
fn shown(result: Result<String>) -> Verdict {
    match result {
        Ok(text) => reply(486).header("X-Result", text),
        Err(error) => reply(480).header("X-Error", error.message().to_owned()),
    }
}
