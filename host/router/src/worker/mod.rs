//! A worker: one thread that drives one core.
