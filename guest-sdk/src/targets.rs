//! Where a request is relayed to.

use std::time::Duration;

use crate::duration::as_milliseconds;
use crate::error::Result;
use crate::host;
use crate::location::Lookup;
use crate::uri::Uri;

/// One target of a [`relay`](crate::relay) verdict, when it is more than a URI.
///
/// ```
/// use patchbay_sdk::prelude::*;
///
/// let gateway = Target::new("sip:+15551234@carrier.example").via("sip:10.0.0.5:5070;transport=tcp").q(700);
/// # let _ = gateway;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    uri: Uri,
    q: u16,
    next_hop: Option<Uri>,
    listener: Option<String>,
    no_answer: Option<Duration>,
}

impl Target {
    /// A target with the highest preference.
    pub fn new(uri: impl Into<Uri>) -> Target {
        Target {
            uri: uri.into(),
            q: 1000,
            next_hop: None,
            listener: None,
            no_answer: None,
        }
    }

    /// The preference in thousandths, 0 to 1000: higher ones are tried first, equal ones together.
    pub fn q(mut self, thousandths: u16) -> Target {
        self.q = thousandths;
        self
    }

    /// Sends there instead of where the URI says, for example over a gateway.
    pub fn via(mut self, next_hop: impl Into<Uri>) -> Target {
        self.next_hop = Some(next_hop.into());
        self
    }

    /// Sends from this listener, `transport:ip:port` as it is configured.
    pub fn from_listener(mut self, listener: impl Into<String>) -> Target {
        self.listener = Some(listener.into());
        self
    }

    /// Ends this branch with 408 when nobody has answered after that time.
    pub fn no_answer(mut self, after: Duration) -> Target {
        self.no_answer = Some(after);
        self
    }

    /// Hands the target to the router.
    fn apply(&self) -> Result<()> {
        let plain = self.q == 1000
            && self.next_hop.is_none()
            && self.listener.is_none()
            && self.no_answer.is_none();
        if plain {
            return Ok(host::targets::add_uri(self.uri.as_str())?);
        }
        let text = |uri: &Uri| uri.as_str().to_owned();
        Ok(host::targets::add(&host::targets::Target {
            uri: text(&self.uri),
            q: self.q,
            next_hop: self.next_hop.as_ref().map(text),
            listener: self.listener.clone(),
            no_answer_ms: self.no_answer.map(as_milliseconds),
        })?)
    }
}

/// The targets of a [`relay`](crate::relay) verdict: a URI, a [`Target`], a [`Lookup`], or several of them.
///
/// Whatever can be turned into `Targets` can be given to `relay`: `relay("sip:bob@10.0.0.2")`, `relay(lookup)`,
/// `relay(["sip:a@example.com", "sip:b@example.com"])`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Most verdicts have one, which needs no list.
    first: Option<Entry>,
    more: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Lookup(Lookup),
    Target(Target),
    NextGroup,
}

impl Targets {
    /// No targets yet.
    pub fn new() -> Targets {
        Targets::default()
    }

    /// Adds targets to the ones before: of equal preference they are tried together.
    pub fn and(mut self, targets: impl Into<Targets>) -> Targets {
        let targets = targets.into();
        targets
            .first
            .into_iter()
            .chain(targets.more)
            .for_each(|entry| self.push(entry));
        self
    }

    /// Adds targets that are tried when every one before has failed.
    pub fn then(mut self, targets: impl Into<Targets>) -> Targets {
        if self.first.is_some() {
            self.push(Entry::NextGroup);
        }
        self.and(targets)
    }

    /// Whether there is nothing to try: no entry at all, or only lookups without a contact.
    pub fn is_empty(&self) -> bool {
        let hollow = |entry: &Entry| {
            matches!(entry, Entry::Lookup(lookup) if lookup.is_empty())
                || *entry == Entry::NextGroup
        };
        self.first.iter().chain(&self.more).all(hollow)
    }

    fn push(&mut self, entry: Entry) {
        match self.first {
            None => self.first = Some(entry),
            Some(_) => self.more.push(entry),
        }
    }

    /// Hands the targets to the router.
    #[inline]
    pub(crate) fn apply(&self) -> Result<()> {
        if let Some(first) = &self.first {
            first.apply()?;
        }
        self.more.iter().try_for_each(Entry::apply)
    }
}

impl Entry {
    #[inline]
    fn apply(&self) -> Result<()> {
        match self {
            Entry::Lookup(lookup) if lookup.is_empty() => {}
            Entry::Lookup(lookup) => drop(host::targets::add_lookup(lookup.number())?),
            Entry::Target(target) => target.apply()?,
            Entry::NextGroup => host::targets::next_group(),
        }
        Ok(())
    }
}

impl From<Lookup> for Targets {
    fn from(lookup: Lookup) -> Targets {
        Targets {
            first: Some(Entry::Lookup(lookup)),
            more: Vec::new(),
        }
    }
}

impl From<Target> for Targets {
    fn from(target: Target) -> Targets {
        Targets {
            first: Some(Entry::Target(target)),
            more: Vec::new(),
        }
    }
}

impl From<Uri> for Targets {
    fn from(uri: Uri) -> Targets {
        Target::new(uri).into()
    }
}

impl From<&Uri> for Targets {
    fn from(uri: &Uri) -> Targets {
        Target::new(uri.clone()).into()
    }
}

impl From<&str> for Targets {
    fn from(uri: &str) -> Targets {
        Target::new(uri).into()
    }
}

impl From<String> for Targets {
    fn from(uri: String) -> Targets {
        Target::new(uri).into()
    }
}

impl From<&String> for Targets {
    fn from(uri: &String) -> Targets {
        Target::new(uri.as_str()).into()
    }
}

impl<T: Into<Targets>> From<Vec<T>> for Targets {
    fn from(targets: Vec<T>) -> Targets {
        targets.into_iter().collect()
    }
}

impl<T: Into<Targets>, const N: usize> From<[T; N]> for Targets {
    fn from(targets: [T; N]) -> Targets {
        targets.into_iter().collect()
    }
}

impl<T: Into<Targets>> FromIterator<T> for Targets {
    fn from_iter<I: IntoIterator<Item = T>>(targets: I) -> Targets {
        targets.into_iter().fold(Targets::new(), Targets::and)
    }
}
