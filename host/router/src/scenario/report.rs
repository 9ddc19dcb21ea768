//! What came of scenarios, for people, for programs, and as JUnit XML for build servers.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::play::Failure;
use super::suite::{Broken, Played, Report};

/// Failures that are shown in full; of more the names are enough.
const SHOWN: usize = 20;

impl Report {
    /// Whether everything was played, and nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failures() == 0 && self.broken.is_empty()
    }

    /// How many of the listed scenarios failed.
    fn failures(&self) -> usize {
        let failed = |played: &&Played| played.failure.is_some();
        self.played.iter().filter(failed).count()
    }

    fn per_second(&self) -> u64 {
        let seconds = self.elapsed.as_secs_f64().max(1e-6);
        (self.count as f64 / seconds) as u64
    }

    /// For people: a line for each, what went wrong where, and a summary.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut file: Option<&Path> = None;
        for played in &self.played {
            if file != Some(&played.file) {
                file = Some(&played.file);
                line(&mut text, format_args!("{}", played.file.display()));
            }
            let word = if played.failure.is_some() {
                "FAIL"
            } else {
                "ok  "
            };
            line(&mut text, format_args!("  {word}  {}", played.name));
        }
        for broken in &self.broken {
            line(&mut text, format_args!("{}", broken.file.display()));
            line(&mut text, format_args!("  ERROR {}", broken.short()));
        }
        let failed: Vec<(&Played, &Failure)> = self
            .played
            .iter()
            .filter_map(|played| Some((played, played.failure.as_ref()?)))
            .collect();
        for (played, failure) in failed.iter().take(SHOWN) {
            show(&mut text, played, failure);
        }
        if failed.len() > SHOWN {
            line(
                &mut text,
                format_args!("\n... and {} more", failed.len() - SHOWN),
            );
        }
        for broken in &self.broken {
            line(&mut text, format_args!("\n{}", broken.problems));
        }
        let (failures, seconds) = (failed.len(), self.elapsed.as_secs_f64());
        let passed = self.count.saturating_sub(failures as u64);
        line(
            &mut text,
            format_args!(
                "\n{passed} passed, {failures} failed{} in {seconds:.3} s: {} scenarios a second",
                self.not_played(),
                self.per_second()
            ),
        );
        text
    }

    fn not_played(&self) -> String {
        match self.broken.len() {
            0 => String::new(),
            1 => ", 1 file not played".to_owned(),
            count => format!(", {count} files not played"),
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let scenarios: Vec<Value> = self.played.iter().map(played_json).collect();
        let failed = self.failures() as u64;
        json!({
            "passed": self.count.saturating_sub(failed),
            "failed": failed,
            "elapsed_us": micros(self.elapsed),
            "scenarios_per_second": self.per_second(),
            "scenarios": scenarios,
            "errors": self.broken.iter().map(broken_json).collect::<Vec<Value>>(),
        })
    }

    /// JUnit XML: a suite for each file.
    pub(crate) fn junit(&self) -> String {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        let totals = |played: &[&Played]| {
            let failures = played.iter().filter(|one| one.failure.is_some()).count();
            let time: std::time::Duration = played.iter().map(|one| one.elapsed).sum();
            (played.len(), failures, time.as_secs_f64())
        };
        let written = |(tests, failures, time): (usize, usize, f64), errors: usize| {
            format!(
                "tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{time:.6}\"",
                tests + errors
            )
        };
        let all: Vec<&Played> = self.played.iter().collect();
        line(
            &mut text,
            format_args!(
                "<testsuites name=\"patchbay policy test\" {}>",
                written(totals(&all), self.broken.len())
            ),
        );
        for suite in all.chunk_by(|one, other| one.file == other.file) {
            let name = suite
                .first()
                .map(|one| one.file.display().to_string())
                .unwrap_or_default();
            line(
                &mut text,
                format_args!(
                    "  <testsuite name=\"{}\" {}>",
                    escaped(&name),
                    written(totals(suite), 0)
                ),
            );
            suite.iter().for_each(|played| case(&mut text, played));
            text.push_str("  </testsuite>\n");
        }
        for broken in &self.broken {
            let name = escaped(&broken.file.display().to_string());
            let begin = written((0, 0, 0.0), 1);
            line(
                &mut text,
                format_args!("  <testsuite name=\"{name}\" {begin}>"),
            );
            error_case(&mut text, broken);
            text.push_str("  </testsuite>\n");
        }
        text.push_str("</testsuites>\n");
        text
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text can't fail.
    let _ = writeln!(text, "{arguments}");
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Where a failure is: the line of the step.
fn place(played: &Played, failure: &Failure) -> String {
    match failure.line {
        0 => played.file.display().to_string(),
        line => format!("{}:{line}", played.file.display()),
    }
}

fn details(failure: &Failure) -> String {
    let mut text = format!(
        "expected: {}\nseen:     {}\n",
        failure.expected, failure.seen
    );
    if !failure.ladder.is_empty() {
        line(&mut text, format_args!("\n{}", failure.ladder));
    }
    if let Some(message) = &failure.message {
        text.push_str("\nThe message:\n");
        for part in message.trim_end().lines() {
            line(&mut text, format_args!("  {part}"));
        }
    }
    text
}

fn show(text: &mut String, played: &Played, failure: &Failure) {
    line(
        text,
        format_args!("\n{}: {}", place(played, failure), played.name),
    );
    for part in details(failure).lines() {
        let indented = format!("  {part}");
        line(text, format_args!("{}", indented.trim_end()));
    }
}

fn played_json(played: &Played) -> Value {
    let failure = played.failure.as_ref().map(|failure| {
        json!({
            "line": failure.line,
            "expected": failure.expected,
            "seen": failure.seen,
            "message": failure.message,
            "ladder": failure.ladder,
        })
    });
    json!({
        "policy": played.policy,
        "file": played.file,
        "line": played.line,
        "name": played.name,
        "passed": played.failure.is_none(),
        "elapsed_us": micros(played.elapsed),
        "failure": failure,
    })
}

fn case(text: &mut String, played: &Played) {
    let (name, class) = (escaped(&played.name), escaped(&played.policy));
    let file = escaped(&played.file.display().to_string());
    let time = played.elapsed.as_secs_f64();
    let begin = format!(
        "    <testcase name=\"{name}\" classname=\"{class}\" file=\"{file}\" line=\"{}\" time=\"{time:.6}\"",
        played.line
    );
    let Some(failure) = &played.failure else {
        return line(text, format_args!("{begin}/>"));
    };
    let message = format!(
        "{}: expected {}, seen {}",
        place(played, failure),
        failure.expected,
        failure.seen
    );
    line(text, format_args!("{begin}>"));
    line(
        text,
        format_args!(
            "      <failure message=\"{}\">{}</failure>",
            escaped(&message),
            escaped(&details(failure))
        ),
    );
    text.push_str("    </testcase>\n");
}

impl Broken {
    /// What is wrong, in one line.
    fn short(&self) -> String {
        match self.problems.lines().count() {
            0 | 1 => "can't be played".to_owned(),
            count => format!("can't be played: {count} problems"),
        }
    }
}

fn broken_json(broken: &Broken) -> Value {
    json!({ "file": broken.file, "problems": broken.problems.lines().collect::<Vec<&str>>() })
}

fn error_case(text: &mut String, broken: &Broken) {
    let file = escaped(&broken.file.display().to_string());
    let first = escaped(broken.problems.lines().next().unwrap_or_default());
    let all = escaped(&broken.problems);
    line(
        text,
        format_args!(
            "    <testcase name=\"the file can be played\" classname=\"{file}\" file=\"{file}\" time=\"0.000000\">"
        ),
    );
    line(
        text,
        format_args!("      <error message=\"{first}\">{all}</error>"),
    );
    text.push_str("    </testcase>\n");
}

/// Text as XML 1.0 takes it; control characters have no place there.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report() -> Report {
        let played = |name: &str, failure| Played {
            policy: "mine".to_owned(),
            file: "tests/calls.toml".into(),
            line: 3,
            name: name.to_owned(),
            elapsed: Duration::from_micros(500),
            failure,
        };
        let failure = Failure {
            line: 7,
            expected: "INVITE at bob".to_owned(),
            seen: "404 <Not> \"Found\"".to_owned(),
            message: None,
            ladder: "  alice".to_owned(),
        };
        Report {
            broken: vec![Broken::new(
                std::path::Path::new("tests/typo.toml"),
                "tests/typo.toml:3: scenario.step.form: unknown key".to_owned(),
            )],
            played: vec![played("works", None), played("a & b", Some(failure))],
            count: 2,
            elapsed: Duration::from_millis(1),
        }
    }

    #[test]
    fn people_see_file_line_and_both_sides() {
        let text = report().text();
        assert!(
            text.starts_with("tests/calls.toml\n  ok    works\n  FAIL  a & b\n"),
            "{text}"
        );
        assert!(
            text.contains("tests/calls.toml:7: a & b\n  expected: INVITE at bob\n"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "1 passed, 1 failed, 1 file not played in 0.001 s: 2000 scenarios a second\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn junit_is_escaped() {
        let xml = report().junit();
        assert!(
            xml.contains(
                "<testsuite name=\"tests/calls.toml\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.001000\">"
            ),
            "{xml}"
        );
        assert!(xml.contains("name=\"a &amp; b\""), "{xml}");
        assert!(
            xml.contains("seen 404 &lt;Not&gt; &quot;Found&quot;\""),
            "{xml}"
        );
    }

    #[test]
    fn a_file_that_can_not_be_played_is_an_error() {
        let text = report().text();
        assert!(
            text.contains("tests/typo.toml\n  ERROR can't be played\n"),
            "{text}"
        );
        let xml = report().junit();
        for part in [
            "<testsuites name=\"patchbay policy test\" tests=\"3\" failures=\"1\" errors=\"1\"",
            "<testsuite name=\"tests/typo.toml\" tests=\"1\" failures=\"0\" errors=\"1\"",
            "<error message=\"tests/typo.toml:3: scenario.step.form: unknown key\">",
        ] {
            assert!(xml.contains(part), "{part} is missing in:\n{xml}");
        }
    }

    #[test]
    fn programs_get_the_same() {
        let json = report().json();
        assert_eq!(json["errors"][0]["file"], "tests/typo.toml");
        assert_eq!(json["failed"], 1);
        assert_eq!(json["scenarios"][1]["failure"]["line"], 7);
        assert_eq!(json["scenarios"][0]["failure"], Value::Null);
    }
}
