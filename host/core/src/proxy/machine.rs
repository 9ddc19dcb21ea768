//! The transaction machines as response contexts use them: INVITE or not, the same events.

use crate::door::Packet;
use crate::time::Instant;
use crate::transaction::{
    ClientAction, ClientRest, InviteClientTransaction, InviteServerTransaction,
    NonInviteClientTransaction, NonInviteServerTransaction, ServerAction, ServerRest, Timing,
};

/// A server transaction.
#[derive(Debug)]
pub(crate) enum ServerMachine {
    /// RFC 3261 §17.2.1.
    Invite(InviteServerTransaction),
    /// RFC 3261 §17.2.2.
    NonInvite(NonInviteServerTransaction),
}

impl ServerMachine {
    /// A response goes out, provisional or final.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        status: u16,
        packet: Packet,
        out: &mut Vec<ServerAction>,
    ) {
        match (self, status) {
            (ServerMachine::Invite(machine), 0..200) => machine.send_provisional(packet, out),
            (ServerMachine::Invite(machine), _) => machine.send_final(now, status, packet, out),
            (ServerMachine::NonInvite(machine), 0..200) => {
                machine.send_provisional(now, status, packet, out)
            }
            (ServerMachine::NonInvite(machine), _) => machine.send_final(now, status, packet, out),
        }
    }

    /// Whether a 2xx given to it is sent.
    pub(crate) fn takes_success(&self) -> bool {
        match self {
            ServerMachine::Invite(machine) => machine.is_proceeding() || machine.is_accepted(),
            ServerMachine::NonInvite(machine) => machine.is_pending(),
        }
    }

    /// The request came again.
    pub(crate) fn on_retransmission(&mut self, out: &mut Vec<ServerAction>) {
        match self {
            ServerMachine::Invite(machine) => machine.on_request_retransmission(out),
            ServerMachine::NonInvite(machine) => machine.on_request_retransmission(out),
        }
    }

    /// An ACK with its key came.
    pub(crate) fn on_ack(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        if let ServerMachine::Invite(machine) = self {
            machine.on_ack(now, out);
        }
    }

    /// Nothing will be answered.
    pub(crate) fn abandon(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        match self {
            ServerMachine::Invite(machine) => machine.abandon(now, out),
            ServerMachine::NonInvite(machine) => machine.abandon(now, out),
        }
    }

    /// A response could not be sent.
    pub(crate) fn on_transport_error(&mut self, out: &mut Vec<ServerAction>) {
        match self {
            ServerMachine::Invite(machine) => machine.on_transport_error(out),
            ServerMachine::NonInvite(machine) => machine.on_transport_error(out),
        }
    }

    /// Time has passed.
    pub(crate) fn on_timeout(&mut self, now: Instant, out: &mut Vec<ServerAction>) {
        match self {
            ServerMachine::Invite(machine) => machine.on_timeout(now, out),
            ServerMachine::NonInvite(machine) => machine.on_timeout(now, out),
        }
    }

    /// When to call `on_timeout`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            ServerMachine::Invite(machine) => machine.deadline(),
            ServerMachine::NonInvite(machine) => machine.deadline(),
        }
    }

    /// Whether it is to be destroyed.
    pub(crate) fn is_terminated(&self) -> bool {
        match self {
            ServerMachine::Invite(machine) => machine.is_terminated(),
            ServerMachine::NonInvite(machine) => machine.is_terminated(),
        }
    }

    /// What is left when all there is to do is to absorb.
    pub(crate) fn rest(&self, copy: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<ServerRest> {
        match self {
            ServerMachine::Invite(machine) => machine.rest(),
            ServerMachine::NonInvite(machine) => machine.rest(copy),
        }
    }

    /// Of a request other than INVITE that was answered: what retransmissions get, and until when.
    pub(crate) fn completed(&self) -> Option<(Option<&Packet>, Instant)> {
        match self {
            ServerMachine::Invite(_) => None,
            ServerMachine::NonInvite(machine) => machine.completed(),
        }
    }

    /// Until when a request other than INVITE has its retransmissions absorbed, if it gets this final response now.
    pub(crate) fn would_complete(&self, now: Instant, status: u16) -> Option<Instant> {
        match self {
            ServerMachine::Invite(_) => None,
            ServerMachine::NonInvite(machine) => machine.would_complete(now, status),
        }
    }

    /// Whether a CANCEL has an effect.
    pub(crate) fn is_pending(&self) -> bool {
        match self {
            ServerMachine::Invite(machine) => machine.is_proceeding(),
            ServerMachine::NonInvite(machine) => machine.is_pending(),
        }
    }
}

/// A client transaction.
#[derive(Debug)]
pub(crate) enum ClientMachine {
    /// RFC 3261 §17.1.1.
    Invite(InviteClientTransaction),
    /// RFC 3261 §17.1.2.
    NonInvite(NonInviteClientTransaction),
}

impl ClientMachine {
    /// Sends the request.
    pub(crate) fn start(
        now: Instant,
        timing: Timing,
        is_invite: bool,
        reliable: bool,
        packet: Packet,
        out: &mut Vec<ClientAction>,
    ) -> Self {
        if is_invite {
            ClientMachine::Invite(InviteClientTransaction::start(
                now, timing, reliable, packet, out,
            ))
        } else {
            ClientMachine::NonInvite(NonInviteClientTransaction::start(
                now, timing, reliable, packet, out,
            ))
        }
    }

    /// A response came.
    pub(crate) fn on_response(
        &mut self,
        now: Instant,
        status: u16,
        make_ack: impl FnOnce() -> Packet,
        out: &mut Vec<ClientAction>,
    ) {
        match self {
            ClientMachine::Invite(machine) => machine.on_response(now, status, |_| make_ack(), out),
            ClientMachine::NonInvite(machine) => machine.on_response(now, status, out),
        }
    }

    /// A send failed.
    pub(crate) fn on_transport_error(&mut self, out: &mut Vec<ClientAction>) {
        match self {
            ClientMachine::Invite(machine) => machine.on_transport_error(out),
            ClientMachine::NonInvite(machine) => machine.on_transport_error(out),
        }
    }

    /// Time has passed.
    pub(crate) fn on_timeout(&mut self, now: Instant, out: &mut Vec<ClientAction>) {
        match self {
            ClientMachine::Invite(machine) => machine.on_timeout(now, out),
            ClientMachine::NonInvite(machine) => machine.on_timeout(now, out),
        }
    }

    /// When to call `on_timeout`.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            ClientMachine::Invite(machine) => machine.deadline(),
            ClientMachine::NonInvite(machine) => machine.deadline(),
        }
    }

    /// Whether it is to be destroyed.
    pub(crate) fn is_terminated(&self) -> bool {
        match self {
            ClientMachine::Invite(machine) => machine.is_terminated(),
            ClientMachine::NonInvite(machine) => machine.is_terminated(),
        }
    }

    /// What is left when all there is to do is to absorb.
    pub(crate) fn rest(&self, copy: impl FnOnce(&[u8]) -> Vec<u8>) -> Option<ClientRest> {
        match self {
            ClientMachine::Invite(machine) => machine.rest(copy),
            ClientMachine::NonInvite(machine) => machine.rest(),
        }
    }
}
