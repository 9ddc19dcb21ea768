//! Methods of requests.

use std::fmt;

use crate::bindings::imports::patchbay::policy::message::MessageFacts;

/// The method of a request. Unlike header names, methods differ by case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// RFC 3261.
    Invite,
    /// RFC 3261.
    Ack,
    /// RFC 3261.
    Bye,
    /// RFC 3261. Hooks never see one: it follows its INVITE.
    Cancel,
    /// RFC 3261.
    Register,
    /// RFC 3261.
    Options,
    /// RFC 6086.
    Info,
    /// RFC 3262.
    Prack,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// RFC 3903.
    Publish,
    /// RFC 3428.
    Message,
    /// RFC 3515.
    Refer,
    /// RFC 3311.
    Update,
    /// Any other.
    Other(String),
}

impl Method {
    /// The method as it is written in a message.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Info => "INFO",
            Method::Prack => "PRACK",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Message => "MESSAGE",
            Method::Refer => "REFER",
            Method::Update => "UPDATE",
            Method::Other(text) => text,
        }
    }
}

impl Method {
    /// The method among these facts; none when it is another.
    pub(crate) fn of_facts(facts: MessageFacts) -> Option<Method> {
        Some(match facts.difference(MessageFacts::IN_DIALOG) {
            MessageFacts::INVITE => Method::Invite,
            MessageFacts::ACK => Method::Ack,
            MessageFacts::BYE => Method::Bye,
            MessageFacts::CANCEL => Method::Cancel,
            MessageFacts::REGISTER => Method::Register,
            MessageFacts::OPTIONS => Method::Options,
            MessageFacts::INFO => Method::Info,
            MessageFacts::PRACK => Method::Prack,
            MessageFacts::SUBSCRIBE => Method::Subscribe,
            MessageFacts::NOTIFY => Method::Notify,
            MessageFacts::PUBLISH => Method::Publish,
            MessageFacts::MESSAGE => Method::Message,
            MessageFacts::REFER => Method::Refer,
            MessageFacts::UPDATE => Method::Update,
            _ => return None,
        })
    }
}

impl From<String> for Method {
    fn from(text: String) -> Method {
        match text.as_str() {
            "INVITE" => Method::Invite,
            "ACK" => Method::Ack,
            "BYE" => Method::Bye,
            "CANCEL" => Method::Cancel,
            "REGISTER" => Method::Register,
            "OPTIONS" => Method::Options,
            "INFO" => Method::Info,
            "PRACK" => Method::Prack,
            "SUBSCRIBE" => Method::Subscribe,
            "NOTIFY" => Method::Notify,
            "PUBLISH" => Method::Publish,
            "MESSAGE" => Method::Message,
            "REFER" => Method::Refer,
            "UPDATE" => Method::Update,
            _ => Method::Other(text),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_reads_back_as_itself() {
        let known = [
            "INVITE",
            "ACK",
            "BYE",
            "CANCEL",
            "REGISTER",
            "OPTIONS",
            "INFO",
            "PRACK",
            "SUBSCRIBE",
            "NOTIFY",
            "PUBLISH",
            "MESSAGE",
            "REFER",
            "UPDATE",
        ];
        for text in known {
            let method = Method::from(text.to_owned());
            assert_eq!(method.as_str(), text);
            assert!(!matches!(method, Method::Other(_)), "{text}");
        }
    }

    #[test]
    fn methods_differ_by_case() {
        assert_eq!(
            Method::from("invite".to_owned()),
            Method::Other("invite".to_owned())
        );
    }
}
