//! `[[http]]` and `[keyvalue]`: what policies find beyond the router.

use std::time::Duration;

use super::steps::edits;
use super::{HttpReply, HttpServer, Pattern, StoredValue};
use crate::config::section::Section;
use crate::config::source::Value;

/// The store counts seconds.
const MIN_TTL: Duration = Duration::from_secs(1);

/// Reads `[[http]]`.
pub(super) fn servers(root: &mut Section<'_>) -> Vec<HttpServer> {
    let mut servers = Vec::new();
    for mut section in root.sections("http").unwrap_or_default() {
        if !section.has("url") {
            section.missing("url");
        }
        servers.push(HttpServer {
            method: section.text("method"),
            url: Pattern(section.text("url").unwrap_or_default()),
            after: section.duration("after", Duration::ZERO, Duration::ZERO),
            reply: reply(&mut section),
        });
        section.finish();
    }
    servers
}

fn reply(section: &mut Section<'_>) -> HttpReply {
    let error = section.text("error");
    let is_silent = section.boolean("timeout", false);
    let has_response = ["status", "header", "body"].map(|key| section.has(key));
    let has_response = has_response.contains(&true);
    let status = section.number("status", 200, 100..=599);
    let headers = edits(section);
    let body = section.text("body").unwrap_or_default();
    if usize::from(error.is_some()) + usize::from(is_silent) + usize::from(has_response) > 1 {
        let message = "there is a response (status, header, body), or an error, or timeout = true";
        section.problem("url", message);
    }
    if is_silent {
        return HttpReply::Nothing;
    }
    if let Some(error) = error {
        return HttpReply::Error(error);
    }
    let pair = |name: &str, value: String| (name.to_ascii_lowercase(), value);
    HttpReply::Response {
        status: u16::try_from(status).unwrap_or(200),
        headers: headers
            .into_iter()
            .flat_map(|edit| {
                let name = edit.name;
                let values = edit.values.into_iter();
                values.map(move |value| pair(&name, value))
            })
            .collect(),
        body,
    }
}

/// Reads `[keyvalue]`: text, a number, or `{ value = "…", ttl = "60s" }`.
pub(super) fn values(root: &mut Section<'_>) -> Vec<(String, StoredValue)> {
    let mut values = Vec::new();
    let Some(entry) = root.written("keyvalue") else {
        return values;
    };
    let Value::Table(table) = &entry.value else {
        root.wrong_type("keyvalue", "a section", &entry.value);
        return values;
    };
    for (key, entry) in table {
        let plain = |text: String| StoredValue { text, ttl: None };
        let value = match &entry.value {
            Value::Text(text) => plain(text.clone()),
            Value::Integer(number) => plain(number.to_string()),
            other => match root.table("keyvalue", entry) {
                Some(mut section) => {
                    let text = section.text("value");
                    if text.is_none() {
                        section.missing("value");
                    }
                    let has_ttl = section.has("ttl");
                    let ttl = section.duration("ttl", MIN_TTL, MIN_TTL);
                    section.finish();
                    StoredValue {
                        text: text.unwrap_or_default(),
                        ttl: has_ttl.then_some(ttl),
                    }
                }
                None => {
                    let expected = "text, a number, or a table with value and ttl";
                    root.wrong_type("keyvalue", expected, other);
                    continue;
                }
            },
        };
        values.push((key.clone(), value));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::super::ScenarioFile;
    use super::*;

    const FILE: &str = r#"
        [keyvalue]
        "calls/alice" = 3
        "calls/bob" = { value = "x", ttl = "60s" }
        [[http]]
        url = "http://lcr.example/*"
        header = { X-A = ["1", "2"] }
        body = "route"
        [phone]
        alice = {}
        [[scenario]]
        name = "x"
        keyvalue = { "calls/alice" = "own" }
        http = [{ url = "*", timeout = true }]
        step = [
            { asked = ["GET *"] },
            { keyvalue = { "calls/alice" = "own", "calls/bob" = false } },
        ]
    "#;

    #[test]
    fn a_scenario_adds_to_what_the_file_has() {
        let file = ScenarioFile::of_text(FILE).unwrap();
        let setting = &file.scenarios[0].setting;
        let values: Vec<(&str, &str, Option<Duration>)> = setting
            .keyvalue
            .iter()
            .map(|(key, value)| (key.as_str(), value.text.as_str(), value.ttl))
            .collect();
        assert_eq!(
            values,
            [
                ("calls/alice", "own", None),
                ("calls/bob", "x", Some(Duration::from_secs(60)))
            ]
        );
        let [own, common] = &setting.http[..] else {
            panic!("two levels")
        };
        assert_eq!(own[0].reply, HttpReply::Nothing);
        let headers = ["1", "2"].map(|value| ("x-a".to_owned(), value.to_owned()));
        assert_eq!(
            common[0].reply,
            HttpReply::Response {
                status: 200,
                headers: headers.to_vec(),
                body: "route".to_owned()
            }
        );
    }

    #[test]
    fn a_server_answers_in_one_way() {
        let text = FILE.replace("body = \"route\"", "error = \"refused\"");
        let problems = ScenarioFile::of_text(&text).expect_err("a problem");
        let problems: Vec<String> = problems.lines().collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with("line 6: http.url: "),
            "{problems:?}"
        );
    }
}
