//! Transactions that a route of the configuration took.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::stage::*;
use crate::door::*;

fn tenant() -> Arc<Tenant> {
    Arc::new(Tenant {
        route: RouteId(7),
        realm: "tenant".to_owned(),
        domains: vec!["tenant.example".to_owned()],
        max_branches: 1,
        max_failure_rounds: 0,
        max_contacts: 2,
        kept: Arc::new(()),
    })
}

fn of_tenants() -> StageCore {
    stage_with(CoreConfig {
        domains: vec!["example.com".into(), "tenant.example".into()],
        tenant_domains: BTreeSet::from(["tenant.example".to_owned()]),
        ..config()
    })
}

fn relaying(stage: &mut StageCore, uris: &[&str], armed: Armed) -> AskedHook {
    let mut hook = stage.hook();
    hook.context.routing.armed = armed;
    let target = |uri: &&str| Target::of_uri(uri.as_bytes().to_vec());
    hook.context.routing.targets = uris.iter().map(target).collect();
    hook
}

fn save(user: &str, to: &str, tenant: Option<&Arc<Tenant>>) -> StageCore {
    let mut stage = of_tenants();
    let text = request_tagged(
        "REGISTER",
        "sip:tenant.example",
        "reg",
        to,
        "Expires: 600\r\n",
    );
    stage.receive(ALICE, &text);
    let mut hook = stage.hook();
    hook.context.verified_user = Some(user.to_owned());
    match tenant {
        Some(tenant) => stage.decide_for(tenant, hook, Ok(Verdict::Save)),
        None => stage.decide(hook, Verdict::Save),
    }
    stage
}

#[test]
fn requests_of_a_dialog_name_its_route() {
    let (mut stage, tenant) = (of_tenants(), tenant());
    stage.receive(ALICE, &invite());
    let hook = relaying(&mut stage, &["sip:bob@192.0.2.2"], Armed::default());
    assert_eq!(hook.context.route, RouteId::NONE);
    stage.decide_for(&tenant, hook, Ok(Verdict::Relay));
    let route = stage.next_request("INVITE").header("Record-Route");
    let (to, headers) = (
        "<sip:bob@example.com>;tag=bob",
        format!("Route: {route}\r\n"),
    );
    let bye = request_tagged("BYE", "sip:bob@192.0.2.2", "b", to, &headers);
    stage.receive(ALICE, &bye);
    let hook = stage.hook();
    assert!(hook.context.in_dialog && hook.tenant.is_none());
    assert_eq!(hook.context.route, RouteId(7));
}

#[test]
fn later_hooks_have_the_tenant_and_what_each_policy_armed() {
    let (mut stage, tenant) = (of_tenants(), tenant());
    stage.receive(ALICE, &invite());
    let armed = Armed {
        onreply_route: ChainPlaces::at(1),
        failure_route: ChainPlaces::FIRST.and(ChainPlaces::at(2)),
        ..Armed::default()
    };
    let hook = relaying(&mut stage, &["sip:bob@192.0.2.2"], armed);
    stage.decide_for(&tenant, hook, Ok(Verdict::Relay));
    let sent = stage.next_request("INVITE");
    stage.answer(&sent, 486, "b");
    let hook = stage.hook();
    assert_eq!((hook.hook, hook.context.armed), (Hook::OnreplyRoute, armed));
    assert!(hook.tenant.is_some_and(|kept| Arc::ptr_eq(&kept, &tenant)));
}

#[test]
fn limits_are_the_tenants() {
    let (mut stage, tenant) = (of_tenants(), tenant());
    stage.receive(ALICE, &invite());
    let armed = Armed {
        failure_route: ChainPlaces::FIRST,
        ..Armed::default()
    };
    let uris = ["sip:bob@192.0.2.2", "sip:bob@192.0.2.3"];
    let hook = relaying(&mut stage, &uris, armed);
    stage.decide_for(&tenant, hook, Ok(Verdict::Relay));
    let sent = stage.next_request("INVITE");
    stage.assert_silent();
    stage.answer(&sent, 486, "b");
    stage.next_request("ACK");
    // One branch is all, and no round more: the next targets are not tried.
    let hook = relaying(&mut stage, &["sip:carol@192.0.2.4"], armed);
    assert_eq!(hook.hook, Hook::FailureRoute);
    stage.decide_for(&tenant, hook, Ok(Verdict::Relay));
    assert!(
        stage
            .next()
            .message
            .status()
            .is_some_and(|status| status >= 400)
    );
}

#[test]
fn a_tenant_registers_users_of_its_realm_in_its_domains() {
    let tenant = tenant();
    let mut stage = save("alice@tenant", "<sip:alice@tenant.example>", Some(&tenant));
    let (_, registration) = stage.updates.pop_front().unwrap();
    assert_eq!(registration.max_contacts, Some(2));
    for (user, to, of) in [
        (
            "alice@example.com",
            "<sip:alice@tenant.example>",
            Some(&tenant),
        ),
        ("alice@tenant", "<sip:alice@example.com>", Some(&tenant)),
        ("alice@example.com", "<sip:alice@tenant.example>", None),
        ("alice@tenant", "<sip:alice@tenant.example>", None),
    ] {
        let mut stage = save(user, to, of);
        stage.next_response(403);
        assert!(stage.updates.is_empty(), "{user} {to}");
    }
}

#[test]
fn the_tenant_is_given_back_at_the_end() {
    let (mut stage, tenant) = (of_tenants(), tenant());
    stage.receive(ALICE, &invite());
    let hook = stage.hook();
    stage.decide_for(&tenant, hook, Err(HookFault::Trap));
    stage.next_response(500);
    stage.wait(std::time::Duration::from_secs(60));
    assert_eq!(Arc::strong_count(&tenant), 1);
}
