//! Bindings on their way from one router to another, each a line of JSON.
//!
//! ```text
//! {"namespace":"default","aor":"sip:bob@example.com","contact":"<sip:bob@192.0.2.4:5060>","expires_unix":1790003600,"call_id":"a84b4c76e66710","cseq":2}
//! ```

use std::net::SocketAddr;

use patchbay_core::door::{Flow, Listener, Transport};
use patchbay_core::registrar::{ContactBinding, Contacts, OutboundSupport, Registration};
use patchbay_core::time::UnixTime;
use patchbay_message::{AddressOfRecord, NameAddr};
use serde::{Deserialize, Serialize};

use super::DEFAULT_NAMESPACE;
use super::recover::listener_of;
use crate::trace::Text;

/// A binding as one router exports it and another one imports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingLine {
    /// Where it is.
    #[serde(default = "shared")]
    pub namespace: String,
    /// Whose it is.
    pub aor: String,
    /// The contact as registered, `"name" <uri>;parameters`, without `expires`.
    pub contact: Text,
    /// When it ends, in seconds since 1970.
    pub expires_unix: u64,
    /// The Call-ID of the registration; empty: not made by a REGISTER.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub call_id: Text,
    /// The CSeq number of the registration.
    #[serde(default)]
    pub cseq: u32,
    /// The User-Agent of the registration.
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    pub user_agent: Text,
    /// The Path values in order (RFC 3327).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Text>,
    /// Whether the contact is known by its instance and reg-id (RFC 5626 §6).
    #[serde(default, skip_serializing_if = "is_false")]
    pub outbound: bool,
    /// The way the registration came over UDP. Connections stay behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_flow: Option<UdpFlow>,
}

/// Two addresses between which datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpFlow {
    /// The router's.
    pub local: SocketAddr,
    /// The phone's.
    pub remote: SocketAddr,
}

fn shared() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl BindingLine {
    /// The line of a binding.
    pub fn of(namespace: &str, aor: &AddressOfRecord, binding: &ContactBinding) -> BindingLine {
        let flow = binding.flow();
        let udp_flow = flow.filter(|flow| flow.transport == Transport::Udp);
        BindingLine {
            namespace: namespace.to_owned(),
            aor: aor.as_str().to_owned(),
            contact: binding.contact().into(),
            expires_unix: binding.expires().0,
            call_id: binding.call_id().into(),
            cseq: binding.cseq(),
            user_agent: binding.user_agent().into(),
            path: binding.path().map(Text::from).collect(),
            outbound: binding.reg_id().is_some(),
            udp_flow: udp_flow.map(|flow| UdpFlow {
                local: flow.local,
                remote: flow.remote,
            }),
        }
    }

    /// The registration that makes the same binding; `None` when its time is over.
    ///
    /// One that ends sooner than the registrar's least time gets that. A flow over UDP goes on where a listener has the address that
    /// it had; else the contact is reached by its URI.
    pub fn registration(
        &self,
        now: UnixTime,
        min_expires_secs: u32,
        listeners: &[Listener],
    ) -> Result<Option<Registration>, String> {
        self.check()?;
        let aor: AddressOfRecord = self
            .aor
            .parse()
            .map_err(|_| format!("{:?} is no address-of-record", self.aor))?;
        let left = self.expires_unix.saturating_sub(now.0);
        if left == 0 {
            return Ok(None);
        }
        let expires_secs = u32::try_from(left).unwrap_or(u32::MAX);
        let registration = Registration::of_contact(
            aor,
            self.contact.as_bytes(),
            expires_secs.max(min_expires_secs),
            self.flow(listeners),
        );
        let registration =
            registration.map_err(|_| format!("{} is no contact", self.contact.lossy()))?;
        Ok(Some(Registration {
            call_id: self.call_id.0.clone(),
            cseq: self.cseq,
            user_agent: self.user_agent.0.clone(),
            path: self.path.iter().map(|value| value.0.clone()).collect(),
            outbound: match self.outbound {
                true => OutboundSupport::Flows,
                false => OutboundSupport::None,
            },
            ..registration
        }))
    }

    /// What goes into headers later can't break them.
    fn check(&self) -> Result<(), String> {
        let texts = [&self.contact, &self.call_id, &self.user_agent];
        let mut texts = texts.into_iter().chain(&self.path);
        if texts.any(|text| text.0.iter().any(u8::is_ascii_control)) {
            return Err("a control character in a value".to_owned());
        }
        match self
            .path
            .iter()
            .find(|value| NameAddr::parse(value.as_bytes()).is_err())
        {
            Some(value) => Err(format!("{} is no Path", value.lossy())),
            None => Ok(()),
        }
    }

    fn flow(&self, listeners: &[Listener]) -> Option<Flow> {
        let UdpFlow { local, remote } = self.udp_flow?;
        let listener = listener_of(Transport::Udp, local, listeners)?;
        Some(Flow {
            listener,
            transport: Transport::Udp,
            local,
            remote,
            connection: None,
        })
    }
}

/// Whether these bindings have one of the contacts of the registration, which ends no sooner: then it is newer, or the same.
pub fn has_newer(bindings: &[ContactBinding], registration: &Registration, now: UnixTime) -> bool {
    let Contacts::Change(changes) = &registration.contacts else {
        return false;
    };
    changes.iter().any(|change| {
        let expires = now.0 + u64::from(change.expires_secs.unwrap_or_default());
        bindings.iter().any(|binding| {
            let is_same_flow = registration.outbound != OutboundSupport::None
                && change.reg_id.is_some()
                && binding.reg_id() == change.reg_id
                && binding.instance() == change.instance.as_deref();
            (is_same_flow || binding.uri() == change.uri) && binding.expires().0 >= expires
        })
    })
}

#[cfg(test)]
mod tests {
    use patchbay_core::door::ListenerId;
    use patchbay_core::registrar::{RegistrarConfig, apply};

    use super::*;

    const NOW: UnixTime = UnixTime(1_790_000_000);

    fn listener(address: &str) -> Listener {
        Listener {
            transport: Transport::Udp,
            address: address.parse().expect("an address"),
            advertise: None,
        }
    }

    fn binding(contact: &str) -> ContactBinding {
        let aor = "sip:bob@example.com".parse().expect("valid");
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().expect("valid"),
            remote: "198.51.100.7:4242".parse().expect("valid"),
            connection: None,
        };
        let registration = Registration {
            call_id: b"c1".to_vec(),
            cseq: 7,
            user_agent: b"phone".to_vec(),
            path: vec![b"<sip:edge.example;lr>".to_vec()],
            outbound: OutboundSupport::Flows,
            ..Registration::of_contact(aor, contact.as_bytes(), 600, Some(flow)).expect("valid")
        };
        let applied = apply(&[], &registration, &RegistrarConfig::default(), NOW).expect("valid");
        applied.bindings[0].clone()
    }

    fn line(contact: &str) -> BindingLine {
        let aor = "sip:bob@example.com".parse().expect("valid");
        BindingLine::of("default", &aor, &binding(contact))
    }

    #[test]
    fn a_binding_is_the_same_on_the_other_side() {
        let contact = "\"Bob\" <sip:bob@10.0.0.9:5060;transport=udp>;q=0.5;+sip.instance=\"<urn:uuid:1>\";reg-id=2";
        let line = line(contact);
        let json = serde_json::to_string(&line).expect("JSON");
        let line: BindingLine = serde_json::from_str(&json).expect("the same");
        let listeners = [listener("127.0.0.1:1"), listener("0.0.0.0:5060")];
        let registration = line.registration(NOW, 60, &listeners);
        let registration = registration.expect("valid").expect("in time");
        let applied = apply(&[], &registration, &RegistrarConfig::default(), NOW).expect("valid");
        let (ours, theirs) = (&applied.bindings[0], binding(contact));
        assert_eq!(ours.flow().map(|flow| flow.listener), Some(ListenerId(1)));
        assert_eq!(ours.with_listener(Some(ListenerId(0))), theirs);
    }

    #[test]
    fn without_its_listener_a_contact_has_no_flow() {
        let registration =
            line("<sip:bob@10.0.0.9>").registration(NOW, 60, &[listener("192.0.2.9:5060")]);
        assert_eq!(registration.expect("valid").expect("in time").flow, None);
    }

    #[test]
    fn time_goes_on_between_the_routers() {
        let line = line("<sip:bob@10.0.0.9>");
        let at = |secs| {
            let registration = line.registration(UnixTime(NOW.0 + secs), 60, &[]);
            registration
                .expect("valid")
                .map(|registration| match registration.contacts {
                    Contacts::Change(changes) => changes[0].expires_secs,
                    other => panic!("{other:?}"),
                })
        };
        assert_eq!(at(100), Some(Some(500)));
        assert_eq!(at(599), Some(Some(60)), "not less than the registrar takes");
        assert_eq!(at(600), None);
    }

    #[test]
    fn what_breaks_a_header_is_refused() {
        let bad = |change: fn(&mut BindingLine)| {
            let mut line = line("<sip:bob@10.0.0.9>");
            change(&mut line);
            line.registration(NOW, 60, &[]).is_err()
        };
        assert!(!bad(|_| {}));
        assert!(bad(|line| line.user_agent = b"a\r\nX: y".as_slice().into()));
        assert!(bad(|line| line.path = vec![b"nonsense <".as_slice().into()]));
        assert!(bad(|line| line.contact = b"<nonsense>".as_slice().into()));
        assert!(bad(|line| line.aor = "nonsense:".to_owned()));
    }

    #[test]
    fn a_newer_binding_stays() {
        let line = line("<sip:bob@10.0.0.9>");
        let registration = |now| {
            let registration = line.registration(now, 0, &[]).expect("valid");
            registration.expect("in time")
        };
        let bindings = [binding("<sip:bob@10.0.0.9>")];
        assert!(has_newer(&bindings, &registration(NOW), NOW));
        assert!(!has_newer(&[], &registration(NOW), NOW));
        assert!(!has_newer(
            &[binding("<sip:bob@10.0.0.8>")],
            &registration(NOW),
            NOW
        ));
    }
}
