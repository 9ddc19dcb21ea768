//! The policy directory: watched, so that a changed file of the active policy becomes active by itself.
