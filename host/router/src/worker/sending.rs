//! Carrying out the core's sends.

use std::net::IpAddr;
use std::sync::Arc;

use patchbay_core::door::{
    Destination, Flow, FlowId, ListenerId, Packet, SendId, SendTo, Transport,
};

use crate::metrics::{LimitLabel, WorkerMetrics};
use crate::resolve::OutgoingListeners;
use crate::transport::{
    ConnectionKey, ConnectionTasks, Outgoing, Reservation, Sender, UdpSend, UdpSenders, Unsent,
};

/// The sending side of a worker.
pub(super) struct Sending {
    /// Datagrams; they leave once per turn of the loop.
    pub(super) udp: UdpSenders,
    /// Connections.
    pub(super) tasks: Arc<ConnectionTasks>,
    /// A task of the runtime may have been woken: the runtime has to be given a turn.
    pub(super) concerns_runtime: bool,
}

impl Sending {
    /// Sends a packet; `false` when it has failed already. A failure that shows later comes through the mailbox.
    #[must_use]
    pub(super) fn send(
        &mut self,
        id: SendId,
        to: SendTo,
        packet: Packet,
        listeners: &OutgoingListeners,
        metrics: &WorkerMetrics,
    ) -> bool {
        let (transport, bytes) = (transport_of(&to), packet.len() as u64);
        let sent = match to {
            SendTo::Flow {
                flow,
                fallback_port,
            } => self.send_on_flow(id, &flow, fallback_port, packet, listeners, metrics),
            SendTo::Destination(destination) => {
                self.send_to(id, &destination, packet, listeners, metrics)
            }
        };
        if sent {
            metrics.messages_sent.increment(transport);
            metrics.bytes_sent.add(transport, bytes);
        } else {
            metrics.send_failures.increment(transport);
        }
        sent
    }

    fn send_on_flow(
        &mut self,
        id: SendId,
        flow: &Flow,
        fallback_port: Option<u16>,
        packet: Packet,
        listeners: &OutgoingListeners,
        metrics: &WorkerMetrics,
    ) -> bool {
        let Some(connection) = flow.connection else {
            // RFC 3581 §4: a response leaves from the address and port that received the request.
            return self.push_udp(
                flow.listener,
                UdpSend {
                    id,
                    remote: flow.remote,
                    local: Some(flow.local.ip()),
                    packet,
                },
                metrics,
            );
        };
        match self.send_on_connection(id, connection, packet, metrics) {
            Ok(sent) => sent,
            // RFC 3261 §18.2.2: when the connection of the request is gone, the response goes to where its Via says.
            Err(packet) => fallback_port.is_some_and(|port| {
                self.send_to(id, &flow.at_port(port), packet, listeners, metrics)
            }),
        }
    }

    fn send_to(
        &mut self,
        id: SendId,
        destination: &Destination,
        packet: Packet,
        listeners: &OutgoingListeners,
        metrics: &WorkerMetrics,
    ) -> bool {
        let Some(listener) = listeners.fitting(
            destination.transport,
            destination.address,
            destination.listener,
        ) else {
            return false;
        };
        match destination.transport {
            Transport::Udp => self.push_udp(
                listener,
                UdpSend {
                    id,
                    remote: destination.address,
                    local: destination.local,
                    packet,
                },
                metrics,
            ),
            Transport::Tcp => {
                self.send_over_stream(id, destination, listener, packet, listeners, metrics)
            }
            // Listeners of these transports are refused at the start, so that `fitting` finds none.
            Transport::Tls | Transport::Ws | Transport::Wss => false,
        }
    }

    fn push_udp(&mut self, listener: ListenerId, send: UdpSend, metrics: &WorkerMetrics) -> bool {
        let taken = self.udp.push(listener, send);
        if !taken {
            metrics.limits.increment(LimitLabel::SendQueue);
        }
        taken
    }

    /// Whether the queue took the packet, or the packet when the connection is gone.
    fn send_on_connection(
        &mut self,
        id: SendId,
        connection: FlowId,
        packet: Packet,
        metrics: &WorkerMetrics,
    ) -> Result<bool, Packet> {
        let outgoing = Outgoing {
            packet,
            sender: Some(Sender {
                worker: self.tasks.worker,
                id,
            }),
        };
        self.concerns_runtime = true;
        match self.tasks.connections.send(connection, outgoing) {
            Ok(()) => Ok(true),
            Err((Unsent::Full, _)) => {
                metrics.limits.increment(LimitLabel::SendQueue);
                Ok(false)
            }
            Err((Unsent::Gone, outgoing)) => Err(outgoing.packet),
        }
    }

    /// Over the connection to the destination, which is opened when there is none.
    fn send_over_stream(
        &mut self,
        id: SendId,
        destination: &Destination,
        listener: ListenerId,
        packet: Packet,
        listeners: &OutgoingListeners,
        metrics: &WorkerMetrics,
    ) -> bool {
        let key = ConnectionKey {
            transport: destination.transport,
            remote: destination.address,
            listener,
        };
        let connection = match self.tasks.connections.reserve(self.tasks.worker, key) {
            Reservation::Existing(connection) => connection,
            Reservation::New(connection, receiver) => {
                let local: Option<IpAddr> = destination
                    .local
                    .or_else(|| listeners.bind_address(listener));
                Arc::clone(&self.tasks).open(connection, key, local, receiver);
                connection
            }
            Reservation::Full => {
                metrics.limits.increment(LimitLabel::Connections);
                return false;
            }
        };
        // A connection that ended in this very moment fails the send; the next one opens another.
        self.send_on_connection(id, connection, packet, metrics)
            .unwrap_or(false)
    }
}

fn transport_of(to: &SendTo) -> Transport {
    match to {
        SendTo::Flow { flow, .. } => flow.transport,
        SendTo::Destination(destination) => destination.transport,
    }
}
