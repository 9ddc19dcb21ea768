//! A hook while many policies are loaded.

use std::sync::Arc;

use patchbay_policy::{Instances, Policies};
use patchbay_tests::policies::built;

use crate::hooks::{OneCall, engine, run};
use crate::suite::{Steps, Suite};

const OPERATIONS: u64 = 1000;

struct Loaded {
    policies: Policies<OneCall>,
    instances: Instances<OneCall>,
    host: Option<OneCall>,
    /// The version of a transaction that began when another policy was active.
    earlier: u64,
}

/// The hook of the active policy, and of one that is pinned, of so many that are all loaded.
pub(crate) fn among(count: u32) -> Box<dyn Suite> {
    let engine = engine();
    let bytes = std::fs::read(built("bench")).expect("a built policy");
    let policies = Policies::new(engine.clone(), OneCall::new);
    let mut earlier = 0;
    for number in 0..count {
        let name = format!("bench-{number}");
        policies
            .store(&name, &with_remark(&bytes, number))
            .expect("a policy");
        policies.activate(&name, None).expect("it can be loaded");
        // As a transaction does, which keeps the version it began with.
        let pinned = policies.pin_active().expect("it is active");
        if number == count / 2 {
            earlier = pinned.number();
        }
    }
    let loaded = Loaded {
        policies,
        instances: Instances::new(engine, 0),
        host: Some(OneCall::new()),
        earlier,
    };
    let steps = Steps::new(OPERATIONS, loaded)
        .step("request_route of the active policy", |loaded, times| {
            for _ in 0..times {
                let version = loaded.policies.active().expect("a policy is active");
                run(&loaded.instances, &version, &mut loaded.host);
            }
        })
        .step("request_route of a pinned version", |loaded, times| {
            for _ in 0..times {
                let version = loaded.policies.by_number(loaded.earlier);
                let version: Arc<_> = version.expect("it is pinned");
                run(&loaded.instances, &version, &mut loaded.host);
            }
        });
    Box::new(steps)
}

/// The same component with a custom section of its own, so that each is compiled and loaded for itself.
fn with_remark(component: &[u8], number: u32) -> Vec<u8> {
    let name = b"remark";
    let content = [&[name.len() as u8], &name[..], &number.to_le_bytes()].concat();
    [component, &[0, content.len() as u8], &content].concat()
}
