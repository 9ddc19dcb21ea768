//! The contacts of an address-of-record at one moment.

use std::ops::Deref;
use std::sync::Arc;

use super::ContactBinding;
use crate::time::UnixTime;

/// The bindings of an address-of-record at one moment, the oldest first. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings(Option<Arc<[ContactBinding]>>);

impl Bindings {
    /// Those that still hold.
    pub fn live(self, now: UnixTime) -> Bindings {
        if self.iter().all(|binding| binding.is_live(now)) {
            return self;
        }
        self.iter()
            .filter(|binding| binding.is_live(now))
            .cloned()
            .collect()
    }
}

impl From<Vec<ContactBinding>> for Bindings {
    fn from(bindings: Vec<ContactBinding>) -> Bindings {
        Bindings((!bindings.is_empty()).then(|| bindings.into()))
    }
}

impl FromIterator<ContactBinding> for Bindings {
    fn from_iter<I: IntoIterator<Item = ContactBinding>>(bindings: I) -> Bindings {
        let mut bindings = bindings.into_iter();
        let Some(first) = bindings.next() else {
            return Bindings::default();
        };
        // Nearly always there is one: then this takes memory once.
        match bindings.next() {
            None => Bindings(Some(Arc::new([first]))),
            Some(second) => [first, second]
                .into_iter()
                .chain(bindings)
                .collect::<Vec<_>>()
                .into(),
        }
    }
}

impl Deref for Bindings {
    type Target = [ContactBinding];

    fn deref(&self) -> &[ContactBinding] {
        self.0.as_deref().unwrap_or_default()
    }
}
