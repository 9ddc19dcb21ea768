//! The data directory: its format version, its lock, its secrets and its store.

/// The keys that the router makes at its first start and keeps.
#[derive(Clone)]
pub struct Secrets {
    /// Keys Record-Route tokens, branch tokens and the hash of Call-IDs.
    pub token_key: [u8; 32],
    /// Keys digest nonces.
    pub nonce_key: [u8; 32],
}
