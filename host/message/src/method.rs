//! Request methods.

use std::fmt;

macro_rules! methods {
    ($($variant:ident $text:literal;)*) => {
        /// A method. Names are compared with case (RFC 3261 §7.1).
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method<'a> {
            $(#[doc = concat!("`", $text, "`.")] $variant,)*
            /// Any other method, by its name.
            Other(&'a [u8]),
        }

        impl<'a> Method<'a> {
            /// The method of this name.
            pub fn from_bytes(name: &'a [u8]) -> Method<'a> {
                $(if name == $text.as_bytes() {
                    return Method::$variant;
                })*
                Method::Other(name)
            }

            /// The method when it is none of [`Method::Other`].
            pub(crate) fn known(self) -> Option<Method<'static>> {
                match self {
                    $(Method::$variant => Some(Method::$variant),)*
                    Method::Other(_) => None,
                }
            }

            /// The name of the method.
            pub fn as_bytes(&self) -> &'a [u8] {
                match *self {
                    $(Method::$variant => $text.as_bytes(),)*
                    Method::Other(name) => name,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE";
    Ack "ACK";
    Bye "BYE";
    Cancel "CANCEL";
    Register "REGISTER";
    Options "OPTIONS";
    Info "INFO";
    Prack "PRACK";
    Subscribe "SUBSCRIBE";
    Notify "NOTIFY";
    Publish "PUBLISH";
    Message "MESSAGE";
    Refer "REFER";
    Update "UPDATE";
}

impl Method<'_> {
    /// Whether the request makes a dialog: INVITE, SUBSCRIBE, REFER and NOTIFY (RFC 3261 §12.1, RFC 6665 §4.4.1, RFC 3515 §2.4.4).
    pub fn makes_dialog(&self) -> bool {
        matches!(
            self,
            Method::Invite | Method::Subscribe | Method::Refer | Method::Notify
        )
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for Method<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::from_bytes(b"INVITE"), Method::Invite);
        assert_eq!(Method::from_bytes(b"invite"), Method::Other(b"invite"));
        assert_eq!(Method::from_bytes(b"NEWMETHOD").as_bytes(), b"NEWMETHOD");
    }
}
