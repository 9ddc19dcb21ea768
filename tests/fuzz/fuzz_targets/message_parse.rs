//! Any bytes as a message: no panic, and what is written unedited is what was read.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use patchbay_message::{Draft, Limits, Message};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes, &Limits::default()) else {
        return;
    };
    let _ = message.validate();
    let _ = (message.top_via(), message.from(), message.to(), message.cseq(), message.max_forwards());
    let fields = message.fields().count();
    let mut written = Vec::new();
    Draft::new(Arc::new(message)).write_to(&mut written);
    let again = Message::parse(&written, &Limits::default()).expect("what we write can be read");
    assert_eq!(again.fields().count(), fields);
});
