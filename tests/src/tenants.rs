//! Routers with tenants: routes of the configuration, each with a domain and a policy of its own.

use std::path::PathBuf;

use crate::agent::{Agent, Sent};
use crate::policies;
use crate::router::{Router, Setup, wait_until};
use crate::text::Text;

/// The domain of the first tenant.
pub const A: &str = "a.example";
/// The domain of the second.
pub const B: &str = "b.example";

/// An agent whose domain is a tenant's.
pub fn agent(router: &Router, user: &str, domain: &str) -> Agent {
    let mut agent = Agent::udp(router.udp(), user);
    agent.domain = domain.to_owned();
    agent
}

/// The same, registered.
pub fn registered(router: &Router, user: &str, domain: &str) -> Agent {
    let mut agent = agent(router, user, domain);
    agent.register();
    agent
}

/// Two tenants with the same policy and different settings, each with a namespace of its own.
pub fn two_tenants() -> Setup {
    Setup::new()
        .policy("tenant", &policies::guest("tenant"))
        .section(&routes("tenant", "tenant"))
}

/// Both registered with the first tenant: who calls, and who is called.
pub fn alice_and_bob(router: &Router) -> (Agent, Agent) {
    (registered(router, "alice", A), registered(router, "bob", A))
}

/// Each tenant with a policy of its own, `of-a` and `of-b`, from the same component.
pub fn own_policies() -> Setup {
    let tenant = policies::guest("tenant");
    Setup::new()
        .policy("of-a", &tenant)
        .policy("of-b", &tenant)
        .section(&routes("of-a", "of-b"))
}

/// Two tenants with these policies.
pub fn routes(of_a: &str, of_b: &str) -> String {
    let route = |domain: &str, policy: &str, mark: &str| {
        format!(
            "[[policy.route]]\ndomain = {domain:?}\npolicy = {policy:?}\nnamespace = {mark:?}\n[policy.route.settings]\nmark = {mark:?}\n"
        )
    };
    route(A, of_a, "a") + &route(B, of_b, "b")
}

/// The first tenant with this chain of `screening` and `tenant`, in TOML.
pub fn chain(policies: &str) -> Setup {
    let route = format!(
        "[[policy.route]]\ndomain = {A:?}\npolicy = {policies}\nnamespace = \"a\"\n[policy.route.settings]\nmark = \"a\"\n"
    );
    Setup::new()
        .policy("tenant", &policies::guest("tenant"))
        .policy("screening", &policies::guest("screening"))
        .section(&route)
}

/// The tenant's policy with a text behind its mark.
pub fn version(name: &str) -> PathBuf {
    changed(name, &format!("self.mark.push_str({name:?});"))
}

/// The same that refuses to start with this mark.
pub fn version_that_refuses(mark: &str, name: &str) -> PathBuf {
    let refuse = format!("if self.mark == {mark:?} {{ return Err(Error::new(\"not {mark}\")); }}");
    changed(
        &format!("{name}-not-{mark}"),
        &format!("{refuse} self.mark.push_str({name:?});"),
    )
}

/// The tenant's policy that does this as well once it has its mark.
fn changed(name: &str, and_then: &str) -> PathBuf {
    let source = include_str!("../guests/tenant.rs");
    let set = "self.mark = settings::get(\"mark\").unwrap_or_default();";
    let changed = source.replace(set, &format!("{set}\n        {and_then}"));
    assert_ne!(source, changed);
    policies::guest_from(&format!("tenant-{name}"), &changed)
}

/// A call that was picked up.
pub struct Call {
    /// The INVITE.
    pub invite: Sent,
    /// The INVITE as the callee got it.
    pub received: Text,
    /// The 200 as the caller got it.
    pub answer: Text,
}

/// Calls and picks up.
pub fn call(from: &mut Agent, to: &mut Agent) -> Call {
    let invite = from.invite(&to.aor());
    let received = to.expect_request("INVITE");
    to.respond(&received, 200, "", "");
    let answer = from.expect(200);
    let ack = from.in_dialog("ACK", &invite, &answer);
    from.send(&ack);
    to.expect_request("ACK");
    Call {
        invite,
        received,
        answer,
    }
}

/// Asks the policy of a domain who it is; empty: none of ours, or it was refused.
pub fn mark(router: &Router, domain: &str) -> String {
    let mut phone = agent(router, "alice", domain);
    let uri = format!("sip:{domain}");
    let text = phone.compose("OPTIONS", &uri, &uri, "", "");
    phone.request(text);
    phone.final_response().header("X-Tenant").to_owned()
}

/// Both of them.
pub fn marks(router: &Router) -> [String; 2] {
    [A, B].map(|domain| mark(router, domain))
}

/// Changes the configuration of a running router and has it read it.
pub fn reload(router: &Router, change: impl FnOnce(String) -> String) {
    let file = router.path().join("patchbay.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, change(text)).expect("write the configuration");
    let reloads = || router.metric("patchbay_reloads_total", "");
    let before = reloads();
    router.signal("HUP");
    wait_until("the configuration to be read", || reloads() > before);
}

/// The active version of a policy, and the routes that name it.
pub fn policy(router: &Router, name: &str) -> (String, Vec<String>) {
    let answer = router.get("/api/v1/policies");
    let policies = answer["policies"].as_array().expect("a list");
    let found = policies.iter().find(|policy| policy["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} in {policies:?}"));
    let routes = found["routes"].as_array().expect("a list");
    let names = routes
        .iter()
        .map(|route| route.as_str().expect("a name").to_owned());
    let version = found["active_version"].as_str().unwrap_or_default();
    (version.to_owned(), names.collect())
}
