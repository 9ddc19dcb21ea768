//! Random numbers.

use crate::host::random as host;

/// 64 unpredictable bits.
pub fn u64() -> u64 {
    host::u64()
}

/// A number below `end`, each equally likely; 0 when `end` is 0.
pub fn below(end: u64) -> u64 {
    // The high half of a 128-bit product: the error is below 2^-64 times `end`, which no routing decision notices.
    let product = u128::from(u64()) * u128::from(end);
    u64::try_from(product >> 64).unwrap_or(0)
}
