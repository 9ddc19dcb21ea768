//! The location service: who is registered where.
