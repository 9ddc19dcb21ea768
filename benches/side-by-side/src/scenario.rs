//! The scenarios, and what is asked of each.

use std::net::{Ipv4Addr, SocketAddrV4};

use clap::ValueEnum;
use serde::Serialize;

use crate::load::{Kind, Pace, Plan, Transport};
use crate::server::{Product, Setup};

/// Where those who are called are; the policy sends to the second one who is busy.
pub(crate) const CALLEES: [SocketAddrV4; 2] = [
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 3), 6080),
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 3), 7080),
];
/// Calls at a time. Each is quiet for 20 ms, so that a server that does 15,000 calls each second still has all it can do.
const CALL_WINDOW: usize = 600;
/// Registrations or OPTIONS at a time.
const WINDOW: usize = 64;
/// Registrations at a time that wait for the disk together.
const STORED_WINDOW: usize = 512;

/// What the load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// Calls that are relayed to a registered contact.
    Invite,
    /// Calls to somebody who is busy, which go on to voicemail.
    Busy,
    /// Refreshes of registrations in memory.
    Register,
    /// The same with digest authentication: two requests each.
    RegisterDigest,
    /// Refreshes of registrations that are kept on disk.
    RegisterStored,
    /// OPTIONS that the server answers.
    Options,
    /// Calls over TCP on both sides.
    InviteTcp,
}

/// What is asked of a row of the table: a ratio to the other server, or a figure of our own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Target {
    /// At most this.
    pub(crate) at_most: f64,
    /// Better still.
    pub(crate) stretch: Option<f64>,
}

impl Scenario {
    /// In the order of the table.
    pub(crate) const ALL: [Scenario; 7] = [
        Scenario::Invite,
        Scenario::Busy,
        Scenario::Register,
        Scenario::RegisterDigest,
        Scenario::RegisterStored,
        Scenario::Options,
        Scenario::InviteTcp,
    ];

    /// As the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Scenario::Invite => "INVITE relay, CPU per call",
            Scenario::Busy => "busy to voicemail, CPU per call",
            Scenario::Register => "REGISTER refresh in memory, CPU",
            Scenario::RegisterDigest => "REGISTER with digest, CPU",
            Scenario::RegisterStored => "REGISTER refresh stored, CPU",
            Scenario::Options => "OPTIONS answered, CPU",
            Scenario::InviteTcp => "INVITE over TCP, CPU per call",
        }
    }

    /// The ratio of the processor time.
    pub(crate) fn target(self) -> Target {
        let (at_most, stretch) = match self {
            Scenario::Invite | Scenario::Busy => (0.5, Some(0.35)),
            Scenario::Register | Scenario::RegisterDigest => (0.7, Some(0.5)),
            Scenario::RegisterStored => (1.0, Some(0.7)),
            Scenario::Options => (0.9, Some(0.7)),
            Scenario::InviteTcp => (0.6, None),
        };
        Target { at_most, stretch }
    }

    /// How the servers run.
    pub(crate) fn setup(self) -> Setup {
        Setup {
            stored: self == Scenario::RegisterStored,
            tcp: self == Scenario::InviteTcp,
            ..Setup::default()
        }
    }

    /// Whether somebody is called.
    pub(crate) fn needs_callees(self) -> bool {
        self.kind() == Kind::Call
    }

    fn kind(self) -> Kind {
        match self {
            Scenario::Invite | Scenario::Busy | Scenario::InviteTcp => Kind::Call,
            Scenario::Register | Scenario::RegisterDigest | Scenario::RegisterStored => {
                Kind::Register
            }
            Scenario::Options => Kind::Options,
        }
    }

    /// How both sides are reached.
    pub(crate) fn transport(self) -> Transport {
        match self {
            Scenario::InviteTcp => Transport::Tcp,
            _ => Transport::Udp,
        }
    }

    /// The policy asks users whose name begins with `a` for a password, callees whose name begins with `busy` are.
    fn prefix(self) -> &'static str {
        match self {
            Scenario::RegisterDigest => "a",
            Scenario::Busy => "busy",
            Scenario::InviteTcp => "t",
            _ => "u",
        }
    }

    /// As many at a time as it takes to saturate a server.
    pub(crate) fn saturating(self) -> Pace {
        Pace::Window(match self.kind() {
            Kind::Call => CALL_WINDOW,
            _ if self == Scenario::RegisterStored => STORED_WINDOW,
            _ => WINDOW,
        })
    }

    /// The load of this scenario, without end.
    pub(crate) fn plan(self, product: Product) -> Plan {
        let mut plan = Plan::new(self.kind(), product.address());
        plan.transport = self.transport();
        self.prefix().clone_into(&mut plan.prefix);
        plan.pace = self.saturating();
        plan
    }

    /// The same load from callers to callees, with no server in between.
    pub(crate) fn direct(self) -> Plan {
        let [callee, _] = CALLEES;
        let mut plan = self.plan(Product::Patchbay);
        plan.server = callee;
        plan.through_proxy = false;
        plan
    }

    /// Each user once: what the load needs to find. `None`: nothing.
    pub(crate) fn preparation(self, product: Product) -> Option<Plan> {
        let mut plan = self.plan(product);
        plan.kind = Kind::Register;
        plan.pace = Pace::Window(WINDOW);
        plan.count = plan.users;
        plan.step = 1;
        (self.kind() != Kind::Options).then_some(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_scenarios_are_listed_once() {
        assert_eq!(Scenario::value_variants(), Scenario::ALL);
    }

    #[test]
    fn calls_are_prepared_by_registrations_of_the_same_users() {
        let plan = Scenario::Busy.preparation(Product::Patchbay).unwrap();
        assert_eq!((plan.kind, plan.count), (Kind::Register, plan.users));
        assert_eq!(plan.prefix, Scenario::Busy.plan(Product::Patchbay).prefix);
        assert!(Scenario::Options.preparation(Product::Patchbay).is_none());
    }
}
