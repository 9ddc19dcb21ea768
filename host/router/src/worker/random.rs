//! The one place that asks the system for randomness.

use rand::distr::{Distribution, StandardUniform};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A generator that nobody can predict.
pub(crate) fn generator() -> StdRng {
    StdRng::from_os_rng()
}

/// One unpredictable value, where they are needed too seldom for a generator of their own.
pub(crate) fn unpredictable<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    generator().random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_differ() {
        assert_ne!(unpredictable::<u128>(), unpredictable::<u128>());
    }
}
