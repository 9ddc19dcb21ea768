//! The contacts of an address-of-record at one moment.

use std::ops::Deref;
use std::sync::Arc;

use super::ContactBinding;
use crate::time::UnixTime;

/// The bindings of an address-of-record at one moment, the oldest first. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings(Held);

/// Nearly always there is one: then it stands here itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    None,
    One(ContactBinding),
    /// Two or more.
    Several(Arc<[ContactBinding]>),
}

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

    /// The binding at that place, to be changed where it stands; `None` while the list is shared.
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut ContactBinding> {
        match &mut self.0 {
            Held::None => None,
            Held::One(binding) => (at == 0).then_some(binding),
            Held::Several(bindings) => Arc::get_mut(bindings)?.get_mut(at),
        }
    }
}

impl From<Vec<ContactBinding>> for Bindings {
    fn from(bindings: Vec<ContactBinding>) -> Bindings {
        bindings.into_iter().collect()
    }
}

impl FromIterator<ContactBinding> for Bindings {
    fn from_iter<I: IntoIterator<Item = ContactBinding>>(bindings: I) -> Bindings {
        let mut bindings = bindings.into_iter();
        Bindings(match (bindings.next(), bindings.next()) {
            (None, _) => Held::None,
            (Some(only), None) => Held::One(only),
            (Some(first), Some(second)) => {
                let several: Vec<_> = [first, second].into_iter().chain(bindings).collect();
                Held::Several(several.into())
            }
        })
    }
}

impl Deref for Bindings {
    type Target = [ContactBinding];

    fn deref(&self) -> &[ContactBinding] {
        match &self.0 {
            Held::None => &[],
            Held::One(binding) => std::slice::from_ref(binding),
            Held::Several(bindings) => bindings,
        }
    }
}
