//! Where to send: the interface of RFC 3263.
