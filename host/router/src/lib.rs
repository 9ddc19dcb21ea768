//! The Patchbay SIP router: sockets, clock, store, configuration, admin API and command line around the core.
#![warn(missing_docs)]

// Operations.
pub mod admin;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod logging;
pub mod metrics;
pub mod policy_directory;
pub mod rollout;
pub mod routes;
pub mod server;
pub mod signature;
pub mod trace;

// Transport.
pub mod hooks;
pub mod resolve;
pub mod transport;
pub mod worker;

// Policies, offline.
pub(crate) mod scenario;
// What policies reach.
pub mod keyvalue;
pub mod outside;

// Registrar.
pub mod location;
pub mod users;
