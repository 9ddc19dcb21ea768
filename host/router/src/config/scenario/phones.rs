//! `[phone.NAME]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use patchbay_core::door::Transport;
use patchbay_message::{AddressOfRecord, Uri};

use super::PhoneSetup;
use crate::config::section::Section;
use crate::config::source::Value;
use crate::config::{DEFAULT_SIP_PORT, Listen};

/// What is written of a phone; the rest depends on the scenario that it is in.
#[derive(Clone, Debug)]
pub(super) struct Written {
    aor: Option<String>,
    address: Option<(Transport, SocketAddr)>,
    contact: Option<String>,
    registered: bool,
    q: u16,
    password: Option<String>,
    reachable: bool,
}

/// Reads `[phone.NAME]` of each name, in the order of the file.
pub(super) fn read(root: &mut Section<'_>) -> Vec<(String, Written)> {
    let mut phones = Vec::new();
    for (name, section) in root.named_sections("phone") {
        if OUTSIDE.contains(&name) && section.has_sections() {
            section.problem(
                name,
                format!("below [phone] this is a phone called {name:?}: write {name} above the first section, or as [{name}]"),
            );
            continue;
        }
        if !is_name(name) {
            section.problem(
                name,
                format!("{name:?} is no name of a phone: use letters, digits, '-' and '_'"),
            );
        }
        phones.push((name.to_owned(), phone(section)));
    }
    phones
}

/// What has sections of its own, as phones do not, and is written above the first section or as one.
const OUTSIDE: [&str; 1] = ["router"];

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= 32 && text.chars().all(fits)
}

fn phone(mut section: Section<'_>) -> Written {
    let phone = Written {
        aor: section.parsed("aor", aor),
        address: section.parsed("address", address),
        contact: section.parsed("contact", uri),
        registered: section.boolean("registered", false),
        q: q(&mut section),
        password: section.text("password"),
        reachable: section.boolean("reachable", true),
    };
    section.finish();
    phone
}

/// `"0.5"`, as in a Contact (RFC 3261 §25.1), or 0 or 1.
fn q(section: &mut Section<'_>) -> u16 {
    let Some(entry) = section.written("q") else {
        return 1000;
    };
    let thousandths = match &entry.value {
        Value::Integer(0) => Some(0),
        Value::Integer(1) => Some(1000),
        Value::Text(text) => thousandths(text),
        _ => None,
    };
    thousandths.unwrap_or_else(|| {
        section.problem("q", "is text from \"0\" to \"1\", such as \"0.5\"");
        1000
    })
}

fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let fits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let whole: u16 = match whole {
        "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    Some(whole + part).filter(|sum| fits && *sum <= 1000)
}

/// `192.0.2.9`, `192.0.2.9:5070`, `tcp:192.0.2.9:5070`.
pub(crate) fn address(text: &str) -> Result<(Transport, SocketAddr), String> {
    let wrong = || {
        format!(
            "{text:?} is no address: write ip, ip:port or transport:ip:port, such as \"tcp:192.0.2.9:5060\""
        )
    };
    if let Ok(listen) = text.parse::<Listen>() {
        return match listen.transport {
            Transport::Udp | Transport::Tcp => Ok((listen.transport, listen.address)),
            _ => Err(format!("{text:?}: phones use udp or tcp")),
        };
    }
    if let Ok(address) = text.parse() {
        return Ok((Transport::Udp, address));
    }
    let ip: IpAddr = text.parse().map_err(|_| wrong())?;
    Ok((Transport::Udp, SocketAddr::new(ip, DEFAULT_SIP_PORT)))
}

fn aor(text: &str) -> Result<String, String> {
    let parsed = Uri::parse(text.as_bytes()).ok();
    match parsed.as_ref().and_then(AddressOfRecord::from_uri) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "{text:?} is no address-of-record, such as \"sip:bob@example.com\""
        )),
    }
}

fn uri(text: &str) -> Result<String, String> {
    match Uri::parse(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{text:?} is no URI, such as \"sip:bob@192.0.2.2\"")),
    }
}

/// The phones of a scenario: addresses that are not written are the first free ones of 192.0.2.0/24 (RFC 5737).
pub(super) fn complete(written: &[(String, Written)], domain: &str) -> Vec<PhoneSetup> {
    let taken: Vec<IpAddr> = written
        .iter()
        .filter_map(|(_, phone)| Some(phone.address?.1.ip()))
        .collect();
    let mut free = (1..=254)
        .map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
        .filter(|ip| !taken.contains(ip));
    let mut phones = Vec::new();
    for (name, phone) in written {
        let (transport, address) = phone.address.unwrap_or_else(|| {
            let ip = free.next().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            (Transport::Udp, SocketAddr::new(ip, DEFAULT_SIP_PORT))
        });
        let aor = match &phone.aor {
            Some(aor) => aor.clone(),
            None => format!("sip:{name}@{domain}"),
        };
        let parameter = if transport == Transport::Tcp {
            ";transport=tcp"
        } else {
            ""
        };
        let contact = match &phone.contact {
            Some(contact) => contact.clone(),
            None => format!("sip:{}@{address}{parameter}", user(&aor)),
        };
        phones.push(PhoneSetup {
            name: name.clone(),
            aor,
            transport,
            address,
            contact,
            registered: phone.registered,
            q: phone.q,
            password: phone.password.clone(),
            reachable: phone.reachable,
        });
    }
    phones
}

/// The user part of an address-of-record.
pub(crate) fn user(aor: &str) -> &str {
    let rest = aor.split_once(':').map_or(aor, |(_, rest)| rest);
    rest.split_once('@').map_or(rest, |(user, _)| user)
}

/// The users that phones with passwords are.
pub(super) fn users(phones: &[PhoneSetup]) -> BTreeMap<String, String> {
    let user_of = |phone: &PhoneSetup| {
        let password = phone.password.clone()?;
        Some((user(&phone.aor).to_owned(), password))
    };
    phones.iter().filter_map(user_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_what_differs_from_the_usual() {
        let read =
            |text| address(text).map(|(transport, address)| (transport, address.to_string()));
        assert_eq!(
            read("192.0.2.9"),
            Ok((Transport::Udp, "192.0.2.9:5060".to_owned()))
        );
        assert_eq!(
            read("192.0.2.9:5070"),
            Ok((Transport::Udp, "192.0.2.9:5070".to_owned()))
        );
        assert_eq!(
            read("tcp:[2001:db8::9]:5070"),
            Ok((Transport::Tcp, "[2001:db8::9]:5070".to_owned()))
        );
        read("tls:192.0.2.9:5061").unwrap_err();
        read("bob").unwrap_err();
    }

    #[test]
    fn q_is_read_in_thousandths() {
        assert_eq!(thousandths("0.5"), Some(500));
        assert_eq!(thousandths("1"), Some(1000));
        assert_eq!(thousandths("1.000"), Some(1000));
        for text in ["1.1", "2", "0.1234", ".5", "0.x"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }
}
