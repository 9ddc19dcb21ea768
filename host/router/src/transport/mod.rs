//! Sockets: datagrams and connections.
