//! What a policy may ask of the router while a hook runs.
