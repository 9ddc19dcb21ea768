//! Reading, editing and writing a message takes no memory once buffers have grown.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.
#![allow(unsafe_code)] // A global allocator can't be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use patchbay_message::{
    Draft, HeaderName, Limits, Message, MessagePool, ResponseHead, write_response,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const INVITE: &[u8] = b"INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1;rport, SIP/2.0/TCP a.example.com;branch=z9hG4bK0\r\n\
    Max-Forwards: 70\r\nRoute: <sip:192.0.2.9;lr>, <sip:192.0.2.10;lr>\r\n\
    From: \"Alice\" <sip:alice@example.com>;tag=1928301774\r\nTo: <sip:bob@example.com>\r\nCall-ID: a84b4c76e66710\r\n\
    CSeq: 314159 INVITE\r\nContact: <sip:alice@192.0.2.1:5070>\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n";

/// Everything a proxy does with a message.
fn forward(pool: &mut MessagePool, draft: &mut Draft, empty: &Arc<Message>, out: &mut Vec<u8>) {
    let limits = Limits::default();
    let mut message = pool.take();
    let scanned = Arc::get_mut(&mut message).unwrap();
    scanned.parse_into(INVITE, &limits).unwrap();
    scanned.validate().unwrap();
    assert!(scanned.top_via().unwrap().has_magic_cookie());
    assert!(scanned.from().unwrap().tag().is_some() && scanned.to().unwrap().tag().is_none());
    assert_eq!(scanned.cseq().unwrap().number, 314159);
    draft.reset(Arc::clone(&message));
    draft.set(HeaderName::MaxForwards, b"69").unwrap();
    draft.remove_first_value(HeaderName::Route).unwrap();
    draft
        .prepend(HeaderName::Via, b"SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKabc")
        .unwrap();
    draft
        .replace_first_value(HeaderName::Contact, b"<sip:a@192.0.2.9>")
        .unwrap();
    assert_eq!(draft.values(HeaderName::Via).count(), 3);
    out.clear();
    draft.write_to(out);
    let head = ResponseHead {
        status: 486,
        reason: "",
        to_tag: Some(b"t"),
    };
    write_response(out, draft, head, std::iter::empty(), b"");
    draft.reset(Arc::clone(empty));
    pool.put(message);
}

#[test]
fn forwarding_allocates_nothing_after_warm_up() {
    let (mut pool, mut out) = (MessagePool::default(), Vec::new());
    let mut drafts = [Draft::new(Arc::default()), Draft::new(Arc::default())];
    let empty = drafts[0].base().clone();
    let mut round = |drafts: &mut [Draft; 2]| {
        for draft in drafts {
            forward(&mut pool, draft, &empty, &mut out);
        }
    };
    for _ in 0..3 {
        round(&mut drafts);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..100 {
        round(&mut drafts);
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
