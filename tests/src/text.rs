//! SIP messages as text: a reader that shares nothing with the router's parser.

use std::fmt;

/// A received message, split into start line, header lines and body.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The first line.
    pub start: String,
    /// Name and value of each header line, in order.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl Text {
    /// Splits a message that is well formed (long header names, no folding), as the router is to write it.
    pub fn parse(bytes: &[u8]) -> Text {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.trim().to_owned(), value.trim().to_owned())
            })
            .collect();
        Text {
            start,
            headers,
            body: body.to_owned(),
        }
    }

    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        self.start
            .strip_prefix("SIP/2.0 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &str {
        self.start.splitn(3, ' ').nth(2).unwrap_or("")
    }

    /// The method of a request, or of the CSeq of a response.
    pub fn method(&self) -> &str {
        if self.start.starts_with("SIP/2.0 ") {
            self.header("CSeq").split_whitespace().nth(1).unwrap_or("")
        } else {
            self.start.split(' ').next().unwrap_or("")
        }
    }

    /// The Request-URI of a request.
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }

    /// The first header of that name, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.as_str())
    }

    /// Every header of that name.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// A parameter of the first header of that name (`tag` of From, `branch` of Via).
    pub fn parameter(&self, header: &str, parameter: &str) -> Option<String> {
        let value = self.header(header);
        let outside = value.rsplit_once('>').map_or(value, |(_, params)| params);
        outside.split(';').find_map(|p| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            name.trim()
                .eq_ignore_ascii_case(parameter)
                .then(|| value.trim().to_owned())
        })
    }

    /// The message in one line: for traces.
    pub fn line(&self) -> String {
        let branch = self.parameter("Via", "branch").unwrap_or_default();
        let tag = self.parameter("To", "tag").unwrap_or_default();
        format!(
            "{} [{} {} via {branch} to-tag {tag}]",
            self.start,
            self.header("Call-ID"),
            self.header("CSeq")
        )
    }

    /// The URI between `<` and `>` of the first header of that name.
    pub fn uri_in(&self, header: &str) -> String {
        let value = self.header(header);
        value
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or(value, |(uri, _)| uri)
            .to_owned()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.start)?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {value}")?;
        }
        write!(f, "  ({} bytes of body)", self.body.len())
    }
}
