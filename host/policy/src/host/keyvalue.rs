//! `interface keyvalue` in Rust types.

/// What a policy wants of the store. Keys, values and times to live are checked already, whether the key is granted is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyValueRequest<'a> {
    /// Answered with [`KeyValueAnswer::Value`].
    Get {
        /// The key.
        key: &'a str,
    },
    /// Answered with [`KeyValueAnswer::Exists`].
    Exists {
        /// The key.
        key: &'a str,
    },
    /// Answered with [`KeyValueAnswer::Done`].
    Set {
        /// The key.
        key: &'a str,
        /// Its new value.
        value: &'a [u8],
        /// For how long; `None`: for ever.
        ttl_secs: Option<u32>,
    },
    /// Answered with [`KeyValueAnswer::Done`].
    Delete {
        /// The key.
        key: &'a str,
    },
    /// Answered with [`KeyValueAnswer::Number`].
    Increment {
        /// The key.
        key: &'a str,
        /// What to add.
        delta: i64,
        /// How long a value lasts that is made by this; `None`: for ever.
        ttl_secs: Option<u32>,
    },
    /// Answered with [`KeyValueAnswer::Keys`].
    ListKeys {
        /// What the keys begin with.
        prefix: &'a str,
        /// The keys are behind this one.
        after: &'a str,
    },
}

impl<'a> KeyValueRequest<'a> {
    /// The key, or what the keys begin with: a grant has to be the beginning of it.
    pub fn key(&self) -> &'a str {
        match *self {
            KeyValueRequest::Get { key }
            | KeyValueRequest::Exists { key }
            | KeyValueRequest::Set { key, .. }
            | KeyValueRequest::Delete { key }
            | KeyValueRequest::Increment { key, .. } => key,
            KeyValueRequest::ListKeys { prefix, .. } => prefix,
        }
    }
}

/// What the store answers, in the kind that the request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueAnswer {
    /// It is done.
    Done,
    /// The value, if there is one.
    Value(Option<Vec<u8>>),
    /// Whether there is a value.
    Exists(bool),
    /// What the number is now.
    Number(i64),
    /// Keys in order.
    Keys(Vec<String>),
}
