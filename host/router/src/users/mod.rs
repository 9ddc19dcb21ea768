//! The digest users.
