//! The ladder: who sent what to whom, and what the policy decided, from top to bottom.
//!
//! ```text
//!              alice            router             bob
//!    0.000 s     ├─ INVITE ──────►│                 │
//!                                 │ request_route: relay to sip:bob@192.0.2.2
//!    0.000 s     │                ├─ INVITE ───────►│
//!    0.000 s     │                │◄─ 486 Busy Here ┤
//! ```

use patchbay_message::{Limits, Message};

use super::compose::text;
use super::play::seconds;
use super::trace::{Entry, Happening, Party};
use super::world::World;

/// Columns of a participant, at least.
const WIDTH: usize = 20;
/// Of the time.
const MARGIN: usize = 14;
/// Entries at most: of a loop nobody reads more.
const MAX_ENTRIES: usize = 120;

/// Draws what happened.
pub(super) fn draw(world: &World) -> String {
    let parties = participants(world);
    let names: Vec<String> = parties.iter().map(|party| name(world, *party)).collect();
    let longest = names.iter().map(String::len).max().unwrap_or_default();
    let width = WIDTH.max(longest + 2);
    let mut lines = vec![head(&names, width)];
    let entries = &world.trace.entries;
    let skipped = entries.len().saturating_sub(MAX_ENTRIES);
    if skipped > 0 {
        lines.push(format!("{:MARGIN$}... {skipped} lines before ...", ""));
    }
    for entry in entries.iter().skip(skipped) {
        lines.extend(line(entry, &parties, width));
    }
    lines
        .iter()
        .map(|line| line.trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Those that take part: the first who sends stands on the left, then the router, then the others as they come.
fn participants(world: &World) -> Vec<Party> {
    let mut parties = Vec::new();
    for entry in &world.trace.entries {
        if let Happening::Message { from, to, .. } = &entry.what {
            for party in [*from, *to] {
                if !parties.contains(&party) {
                    parties.push(party);
                }
            }
        }
    }
    parties
}

fn name(world: &World, party: Party) -> String {
    match party {
        Party::Router => "router".to_owned(),
        Party::Phone(number) => world
            .phones
            .get(number)
            .map(|phone| phone.setup.name.clone())
            .unwrap_or_default(),
    }
}

/// Names stand over their lines.
fn head(names: &[String], width: usize) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let start = (MARGIN + index * width + 1).saturating_sub(name.len().div_ceil(2));
        let blanks = start.saturating_sub(text.chars().count());
        text.push_str(&" ".repeat(blanks));
        text.push_str(name);
    }
    text
}

fn line(entry: &Entry, parties: &[Party], width: usize) -> Option<String> {
    let column = |party: &Party| parties.iter().position(|other| other == party);
    let Happening::Message {
        from,
        to,
        packet,
        is_lost,
    } = &entry.what
    else {
        let note = entry.what.note()?;
        let router = column(&Party::Router).unwrap_or_default();
        let mut text = lifelines(parties.len().min(router + 1), width);
        text.push(' ');
        text.push_str(&note);
        return Some(format!("{:MARGIN$}{text}", ""));
    };
    let label = label(packet, *is_lost);
    let (from, to) = (column(from)?, column(to)?);
    let time = format!("{:>1$}  ", seconds(entry.at), MARGIN - 2);
    let mut cells: Vec<char> = lifelines(parties.len(), width).chars().collect();
    cells.resize((parties.len().saturating_sub(1)) * width + 1, ' ');
    if from == to {
        let text: String = cells.into_iter().collect();
        return Some(format!("{time}{text}  {label} (to itself)"));
    }
    arrow(&mut cells, from * width, to * width, &label, *is_lost);
    let text: String = cells.into_iter().collect();
    Some(format!("{time}{text}"))
}

/// A line for each participant.
fn lifelines(count: usize, width: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        if index > 0 {
            text.push_str(&" ".repeat(width - 1));
        }
        text.push('│');
    }
    text
}

/// `├─ INVITE ─►│`, or the other way round, over the columns between.
fn arrow(cells: &mut [char], from: usize, to: usize, label: &str, is_lost: bool) {
    let (left, right) = (from.min(to), from.max(to));
    let Some(span) = cells.get_mut(left..=right) else {
        return;
    };
    let leads_right = from < to;
    let last = span.len().saturating_sub(1);
    let head = if is_lost {
        '╳'
    } else if leads_right {
        '►'
    } else {
        '◄'
    };
    for (index, cell) in span.iter_mut().enumerate() {
        *cell = match index {
            0 if leads_right => '├',
            0 => '│',
            1 if !leads_right => head,
            index if index == last && leads_right => '│',
            index if index == last => '┤',
            index if index + 1 == last && leads_right => head,
            _ => '─',
        };
    }
    let start = if leads_right { 2 } else { 3 };
    let room = span.len().saturating_sub(start + 4);
    let label: String = label.chars().take(room).collect();
    let text = format!(" {label} ");
    for (cell, letter) in span.iter_mut().skip(start).zip(text.chars()) {
        *cell = letter;
    }
}

fn label(packet: &[u8], is_lost: bool) -> String {
    let label = match Message::parse(packet, &Limits::default()) {
        Err(_) => "no SIP message".to_owned(),
        Ok(message) => match message.status() {
            Some(status) => format!("{status} {}", text(message.reason())),
            None => text(message.method().as_bytes()),
        },
    };
    if is_lost {
        format!("{label} (lost)")
    } else {
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_carry_their_label() {
        let mut cells: Vec<char> = lifelines(3, 12).chars().collect();
        arrow(&mut cells, 0, 12, "INVITE", false);
        assert_eq!(
            cells.iter().collect::<String>(),
            "├─ INVITE ─►│           │"
        );
        let mut cells: Vec<char> = lifelines(3, 12).chars().collect();
        arrow(&mut cells, 24, 0, "486 Busy Here", false);
        assert_eq!(
            cells.iter().collect::<String>(),
            "│◄─ 486 Busy Here ──────┤"
        );
    }

    #[test]
    fn a_long_label_is_cut() {
        let mut cells: Vec<char> = lifelines(2, 12).chars().collect();
        arrow(&mut cells, 0, 12, "SUBSCRIBEANDMORE", true);
        assert_eq!(cells.iter().collect::<String>(), "├─ SUBSCRI ╳│");
    }
}
