//! Marks each request with the class of its caller: three headers are read and one is written.

use patchbay_sdk::prelude::*;

/// Marks requests for those behind this router.
#[derive(Debug, Default)]
pub struct CallerClass;

#[patchbay_sdk::policy]
impl Policy for CallerClass {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        let class = class(request);
        request.set_header("X-Caller-Class", class)?;
        Ok(forward())
    }
}

/// A call of high priority, one by a known device, or any other.
fn class(request: &Request) -> &'static str {
    let [priority, agent, contact] = request.headers_named(["Priority", "User-Agent", "Contact"]);
    if priority.is_some_and(|priority| priority.eq_ignore_ascii_case("emergency")) {
        return "emergency";
    }
    match (agent, contact) {
        (Some(agent), Some(contact)) if !agent.is_empty() && !contact.is_empty() => "device",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_sdk::testing::Scenario;

    fn marked(headers: &str) -> Option<String> {
        let invite = format!(
            "INVITE sip:bob@example.com SIP/2.0
            Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
            Max-Forwards: 70
            From: <sip:alice@example.com>;tag=1
            To: <sip:bob@example.com>
            Call-ID: 1@192.0.2.1
            CSeq: 1 INVITE
            {headers}"
        );
        Scenario::new(CallerClass)
            .request(&invite)
            .header("X-Caller-Class")
    }

    #[test]
    fn a_request_has_the_class_of_its_caller() {
        let device = "User-Agent: phone\nContact: <sip:alice@192.0.2.1>";
        assert_eq!(marked(device).as_deref(), Some("device"));
        assert_eq!(
            marked(&format!("{device}\nPriority: Emergency")).as_deref(),
            Some("emergency")
        );
        assert_eq!(marked("Subject: hello").as_deref(), Some("unknown"));
    }
}
