//! `fields`: headers of a request or a response.

use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use super::bindings::types::{HeaderError, HostFields};
use super::held::Held;
use crate::host::{Host, HttpRequest};
use crate::state::State;

/// Bytes of a request's headers.
const MAX_BYTES: usize = 64 << 10;
/// Bytes that an entry takes besides its texts.
const ENTRY_BYTES: usize = 64;

/// Headers, as the guest has them. Names are lower case.
pub struct Fields {
    entries: Vec<(String, Vec<u8>)>,
    /// Of something that is complete.
    is_immutable: bool,
    held: Held,
}

type Changed = std::result::Result<(), HeaderError>;

impl Fields {
    pub(super) fn new(held: Held) -> Fields {
        Fields {
            entries: Vec::new(),
            is_immutable: false,
            held,
        }
    }

    /// Those of something that is complete.
    pub(super) fn complete(entries: Vec<(String, Vec<u8>)>, mut held: Held) -> Result<Fields> {
        if !held.set(size(&entries)) {
            bail!("too many headers are open");
        }
        Ok(Fields {
            entries,
            is_immutable: true,
            held,
        })
    }

    /// The account of what they take, when they themselves are no headers of the guest's any more.
    pub(super) fn into_held(self) -> Held {
        self.held
    }

    pub(super) fn entries(&self) -> &[(String, Vec<u8>)] {
        &self.entries
    }

    /// The values under a name, which may be in any case.
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.entries
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The value of Content-Length; 0 when it is no number.
    pub(super) fn content_length(&self) -> Option<u64> {
        let text = self.values("content-length").next()?;
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        Some(number.unwrap_or_default())
    }

    /// Another with the same entries.
    fn copied(&self, mut held: Held) -> Result<Fields> {
        if !held.set(self.held.bytes()) {
            bail!("too many headers are open");
        }
        Ok(Fields {
            entries: self.entries.clone(),
            is_immutable: false,
            held,
        })
    }

    fn append(&mut self, name: &str, value: Vec<u8>) -> Changed {
        self.check(name, &value)?;
        let bytes = self.held.bytes() + name.len() + value.len() + ENTRY_BYTES;
        self.hold(self.entries.len() + 1, bytes)?;
        self.entries.push((name.to_ascii_lowercase(), value));
        Ok(())
    }

    /// Gives a name these values instead of those that it has, or changes nothing.
    fn set(&mut self, name: &str, values: Vec<Vec<u8>>) -> Changed {
        if values.is_empty() {
            return self.remove(name);
        }
        for value in &values {
            self.check(name, value)?;
        }
        if values.len() > HttpRequest::MAX_HEADERS {
            return Err(HeaderError::Forbidden);
        }
        let new = values
            .into_iter()
            .map(|value| (name.to_ascii_lowercase(), value));
        let is_other = |(other, _): &&(String, _)| !other.eq_ignore_ascii_case(name);
        let others = self.entries.iter().filter(is_other);
        let entries: Vec<_> = others.cloned().chain(new).collect();
        self.hold(entries.len(), size(&entries))?;
        self.entries = entries;
        Ok(())
    }

    /// Takes account of so many entries of so many bytes instead of those that there are, unless they are too many.
    fn hold(&mut self, entries: usize, bytes: usize) -> Changed {
        // The interface has no word for too many.
        let has_room = entries <= HttpRequest::MAX_HEADERS && bytes <= MAX_BYTES;
        if !has_room || !self.held.set(bytes) {
            return Err(HeaderError::Forbidden);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Changed {
        if self.is_immutable {
            return Err(HeaderError::Immutable);
        }
        if !is_name(name) {
            return Err(HeaderError::InvalidSyntax);
        }
        self.entries
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        let bytes = size(&self.entries);
        self.held.set(bytes);
        Ok(())
    }

    fn check(&self, name: &str, value: &[u8]) -> Changed {
        if self.is_immutable {
            return Err(HeaderError::Immutable);
        }
        if !is_name(name) || !value.iter().all(is_of_value) {
            return Err(HeaderError::InvalidSyntax);
        }
        let is_length = name.eq_ignore_ascii_case("content-length");
        if !is_length && HttpRequest::is_host_owned(name) {
            return Err(HeaderError::Forbidden);
        }
        Ok(())
    }
}

fn size(entries: &[(String, Vec<u8>)]) -> usize {
    entries
        .iter()
        .map(|(name, value)| name.len() + value.len() + ENTRY_BYTES)
        .sum()
}

/// RFC 9110 §5.6.2: a token.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// RFC 9110 §5.5: visible characters, blanks and tabs. What is not ASCII is obsolete, and is not sent.
fn is_of_value(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}

impl<H: Host> HostFields for State<H> {
    fn new(&mut self) -> Result<Resource<Fields>> {
        let fields = Fields::new(self.web().held());
        Ok(self.table().push(fields)?)
    }

    fn from_list(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Result<std::result::Result<Resource<Fields>, HeaderError>> {
        let mut fields = Fields::new(self.web().held());
        for (name, value) in entries {
            if let Err(error) = fields.append(&name, value) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(self.table().push(fields)?))
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> Result<Vec<Vec<u8>>> {
        let values = self.table().get(&fields)?.values(&name);
        Ok(values.map(<[u8]>::to_vec).collect())
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> Result<bool> {
        Ok(self.table().get(&fields)?.values(&name).next().is_some())
    }

    fn set(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        values: Vec<Vec<u8>>,
    ) -> Result<Changed> {
        Ok(self.table().get_mut(&fields)?.set(&name, values))
    }

    fn delete(&mut self, fields: Resource<Fields>, name: String) -> Result<Changed> {
        Ok(self.table().get_mut(&fields)?.remove(&name))
    }

    fn append(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        value: Vec<u8>,
    ) -> Result<Changed> {
        Ok(self.table().get_mut(&fields)?.append(&name, value))
    }

    fn entries(&mut self, fields: Resource<Fields>) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.table().get(&fields)?.entries.clone())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> Result<Resource<Fields>> {
        let held = self.web().held();
        let copied = self.table().get(&fields)?.copied(held)?;
        Ok(self.table().push(copied)?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> Result<()> {
        self.table().delete(fields)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::Holder;
    use super::*;

    fn fields() -> Fields {
        Fields::new(Holder::default().held())
    }

    #[test]
    fn names_are_compared_in_any_case() {
        let mut fields = fields();
        fields.append("X-A", b"1".to_vec()).unwrap();
        fields.append("x-a", b"2".to_vec()).unwrap();
        assert_eq!(fields.values("x-A").collect::<Vec<_>>(), [b"1", b"2"]);
        fields.remove("X-a").unwrap();
        assert!(fields.entries().is_empty());
        assert_eq!(fields.held.bytes(), 0);
    }

    #[test]
    fn what_can_not_be_sent_is_refused() {
        let mut fields = fields();
        for (name, value) in [("", "1"), ("x a", "1"), ("x", "1\r\ny: 2"), ("x", "ä")] {
            assert!(
                matches!(
                    fields.append(name, value.into()),
                    Err(HeaderError::InvalidSyntax)
                ),
                "{name} {value}"
            );
        }
        for name in ["Host", "transfer-encoding", "Connection", "Proxy-A"] {
            assert!(
                matches!(fields.append(name, vec![]), Err(HeaderError::Forbidden)),
                "{name}"
            );
        }
        fields.append("Content-Length", b"7".to_vec()).unwrap();
        assert_eq!(fields.content_length(), Some(7));
    }

    #[test]
    fn headers_are_bounded() {
        let mut fields = fields();
        assert!(fields.append("a", vec![b'x'; MAX_BYTES]).is_err());
        for _ in 0..HttpRequest::MAX_HEADERS {
            fields.append("a", b"1".to_vec()).unwrap();
        }
        assert!(fields.append("a", b"1".to_vec()).is_err());
    }

    #[test]
    fn values_that_are_refused_leave_those_before() {
        let holder = Holder::default();
        let mut fields = Fields::new(holder.held());
        fields.append("Other", b"0".to_vec()).unwrap();
        fields.append("X-A", b"1".to_vec()).unwrap();
        let before = (fields.entries().to_vec(), fields.held.bytes());
        let too_many = vec![b"2".to_vec(); HttpRequest::MAX_HEADERS];
        let too_long = vec![b"2".to_vec(), vec![b'x'; MAX_BYTES]];
        let wrong = vec![b"2".to_vec(), b"\n".to_vec()];
        for values in [too_many, too_long, wrong] {
            assert!(fields.set("x-a", values).is_err());
            assert_eq!((fields.entries().to_vec(), fields.held.bytes()), before);
        }
        let most = vec![b"2".to_vec(); HttpRequest::MAX_HEADERS - 1];
        fields.set("X-a", most).unwrap();
        assert_eq!(fields.entries().len(), HttpRequest::MAX_HEADERS);
        fields.set("X-A", Vec::new()).unwrap();
        assert_eq!(fields.entries(), [("other".to_owned(), b"0".to_vec())]);
        assert_eq!(fields.held.bytes(), size(fields.entries()));
    }

    #[test]
    fn those_of_a_response_are_not_changed_but_copied() {
        let holder = Holder::default();
        let entries = vec![("a".to_owned(), b"1".to_vec())];
        let mut fields = Fields::complete(entries, holder.held()).unwrap();
        assert!(matches!(
            fields.append("b", vec![]),
            Err(HeaderError::Immutable)
        ));
        assert!(matches!(fields.remove("a"), Err(HeaderError::Immutable)));
        fields
            .copied(holder.held())
            .unwrap()
            .append("b", vec![])
            .unwrap();
    }
}
