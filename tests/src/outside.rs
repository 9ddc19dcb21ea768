//! Policies that ask beyond the router, and calls whose final response tells what they were answered.

use std::path::Path;

use crate::agent::Agent;
use crate::http_server::HttpServer;
use crate::policies;
use crate::router::{Router, Setup};
use crate::text::Text;

/// A router whose active policy may ask at these servers, with further grants: its setting `url` is at the first of them.
pub fn asking(servers: &[&HttpServer], name: &str, policy: &Path, grants: &str) -> Setup {
    let urls: Vec<String> = servers.iter().map(|server| server.url("/api/")).collect();
    let first = servers.first().expect("a server");
    Setup::new()
        .policy(name, policy)
        .active(name)
        .setting("url", &first.url("/api/route"))
        .section(&format!("[policy.grants]\nhttp = {urls:?}\n{grants}"))
}

/// The same with the policy `outside`, which counts calls in the store as well.
pub fn outside(server: &HttpServer, grants: &str) -> Setup {
    let grants = format!("keyvalue = [\"calls/\"]\n{grants}");
    asking(&[server], "outside", &policies::guest("outside"), &grants)
}

/// The final response to a call to this user.
pub fn called(router: &Router, user: &str) -> Text {
    let mut alice = Agent::udp(router.udp(), "alice");
    let invite = alice.invite(&format!("sip:{user}@localhost"));
    let answer = alice.final_response();
    alice.acknowledge(&invite, &answer);
    answer
}

/// What the policy was answered.
pub fn result(router: &Router, user: &str) -> String {
    let answer = called(router, user);
    assert_eq!(answer.status(), 486, "{answer:?}");
    answer.header("X-Result").to_owned()
}

/// Why it was answered nothing.
pub fn error(router: &Router, user: &str) -> String {
    let answer = called(router, user);
    assert_eq!(answer.status(), 480, "{answer:?}");
    answer.header("X-Error").to_owned()
}
