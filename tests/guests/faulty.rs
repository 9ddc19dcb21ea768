//! Misbehaves when it is asked to: by the user part of the Request-URI, or by a header.

use patchbay_sdk::prelude::*;

/// Routes like a small policy, but for the users `trap`, `loop`, `hog` and `verdict`, and for the ACK to the user `answered`.
#[derive(Default)]
pub struct Faulty;

#[patchbay_sdk::policy]
impl Policy for Faulty {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if let Some(kind) = request.header("X-Fault") {
            misbehave(&kind);
        }
        if *request.method() == Method::Ack && request.uri().user().as_deref() == Some("answered") {
            // Nobody answers an ACK.
            return Ok(reply(200));
        }
        if request.is_in_dialog() {
            return Ok(forward());
        }
        if *request.method() == Method::Register {
            return Ok(save());
        }
        let user = request.uri().user().unwrap_or_default().into_owned();
        if user == "verdict" {
            // SAVE is for REGISTER only.
            return Ok(save());
        }
        misbehave(&user);
        let verdict = relay(location::lookup(request.uri())?);
        Ok(if request.has_header("X-Arm") { verdict.on_reply().on_failure() } else { verdict })
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        if let Some(kind) = response.header("X-Fault") {
            misbehave(&kind);
        }
        Ok(pass())
    }

    fn failure_route(&self, _request: &mut Request, _response: &Response) -> Result<Verdict> {
        panic!("on purpose")
    }
}

fn misbehave(kind: &str) {
    match kind {
        "trap" => panic!("on purpose"),
        "loop" => loop {
            std::hint::black_box(kind);
        },
        "hog" => {
            let mut memory: Vec<Vec<u8>> = Vec::new();
            loop {
                memory.push(std::hint::black_box(vec![1; 1 << 20]));
            }
        }
        _ => {}
    }
}
