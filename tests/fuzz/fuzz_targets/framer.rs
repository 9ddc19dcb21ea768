//! Any bytes as a stream: cut anywhere, the frames are the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use patchbay_message::{Frame, Framer, Limits};

/// The messages in the stream and whether it broke.
fn frames(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, bool) {
    let mut framer = Framer::new(Limits::default());
    let mut messages = Vec::new();
    for chunk in bytes.chunks(step) {
        framer.push(chunk);
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(message))) => messages.push(message.to_vec()),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return (messages, true),
            }
        }
    }
    (messages, false)
}

fuzz_target!(|bytes: &[u8]| {
    let step = usize::from(bytes.first().copied().unwrap_or(1)).max(1);
    assert_eq!(frames(bytes, step).0, frames(bytes, bytes.len().max(1)).0);
});
