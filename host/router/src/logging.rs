//! Where log lines go and what they look like.
//!
//! Lines go to stderr. With `redact` the fields that tell who talks to whom are replaced by a word; the filter can change
//! while the router runs.

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// The fields that name a person or an address.
const PRIVATE_FIELDS: &[&str] = &[
    "aor",
    "contact",
    "flow",
    "from",
    "peer",
    "request_uri",
    "source",
    "to",
    "uri",
    "user",
];
const REDACTED: &str = "[redacted]";

type FilterHandle = reload::Handle<Targets, tracing_subscriber::Registry>;
static FILTER: OnceLock<FilterHandle> = OnceLock::new();

/// Starts logging to stderr. Later calls change nothing.
pub fn start(log: &Log) {
    let (filter, handle) = reload::Layer::new(targets(&log.filter));
    let colours = log.format == LogFormat::Text && std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .event_format(Lines {
            format: log.format,
            redact: log.redact,
        });
    // A second start, in tests, finds a subscriber and keeps it.
    if tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .is_ok()
    {
        // It was empty: this is the only place that sets it, after the subscriber was set once.
        let _ = FILTER.set(handle);
    }
}

/// Changes the filter of the running log.
pub fn set_filter(filter: &str) {
    if let Some(handle) = FILTER.get()
        && let Err(error) = handle.reload(targets(filter))
    {
        tracing::error!(%error, "the log's filter can't be changed");
    }
}

/// The configuration has checked that the text can be read.
fn targets(filter: &str) -> Targets {
    filter
        .parse()
        .unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO))
}

/// Formats an event as one line.
struct Lines {
    format: LogFormat,
    redact: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.format {
            LogFormat::Text => self.text(&mut writer, event),
            LogFormat::Json => self.json(&mut writer, event),
        }
    }
}

impl Lines {
    fn text(&self, writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        let metadata = event.metadata();
        write!(writer, " {:>5} {}:", metadata.level(), metadata.target())?;
        let mut visitor = TextVisitor {
            writer,
            redact: self.redact,
            result: Ok(()),
        };
        event.record(&mut visitor);
        visitor.result?;
        writeln!(writer)
    }

    fn json(&self, writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        let mut object = Map::new();
        object.insert("timestamp".into(), timestamp.into());
        object.insert("level".into(), metadata.level().as_str().into());
        object.insert("target".into(), metadata.target().into());
        event.record(&mut JsonVisitor {
            object: &mut object,
            redact: self.redact,
        });
        writeln!(writer, "{}", Value::Object(object))
    }
}

fn is_private(field: &Field, redact: bool) -> bool {
    redact && PRIVATE_FIELDS.contains(&field.name())
}

/// Writes ` message name=value name=value`.
struct TextVisitor<'a, 'w> {
    writer: &'a mut Writer<'w>,
    redact: bool,
    result: fmt::Result,
}

impl TextVisitor<'_, '_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_err() {
            return;
        }
        self.result = match field.name() {
            "message" => write!(self.writer, " {value}"),
            name if is_private(field, self.redact) => write!(self.writer, " {name}={REDACTED}"),
            name => write!(self.writer, " {name}={value}"),
        };
    }
}

impl Visit for TextVisitor<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" || !value.contains([' ', '"', '\n']) && !value.is_empty() {
            self.write(field, format_args!("{}", OneLine(value)));
        } else {
            self.write(field, format_args!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.write(field, format_args!("{}", OneLine(&text)));
    }
}

/// Text without control characters: what comes from the network must not make lines of its own.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            match part.char_indices().next_back() {
                Some((index, last)) if last.is_control() => write!(
                    f,
                    "{}{}",
                    part.get(..index).unwrap_or_default(),
                    last.escape_default()
                )?,
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// Puts each field into the object.
struct JsonVisitor<'a> {
    object: &'a mut Map<String, Value>,
    redact: bool,
}

impl JsonVisitor<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        let value = if is_private(field, self.redact) {
            REDACTED.into()
        } else {
            value
        };
        self.object.insert(field.name().to_owned(), value);
    }
}

impl Visit for JsonVisitor<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}

/// Runs `log` with a subscriber that writes to `writer`.
#[cfg(test)]
fn written<W>(log: &Log, writer: W, run: impl FnOnce())
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer)
        .event_format(Lines {
            format: log.format,
            redact: log.redact,
        });
    tracing::subscriber::with_default(
        tracing_subscriber::registry().with(layer.with_filter(targets(&log.filter))),
        run,
    );
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("the sink").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, filter: &str, redact: bool, run: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        written(
            &Log {
                format,
                filter: filter.into(),
                redact,
            },
            move || writer.clone(),
            run,
        );
        String::from_utf8(sink.0.lock().expect("the sink").clone()).expect("text")
    }

    #[test]
    fn a_listener_is_one_line_with_its_address() {
        let text = lines(
            LogFormat::Text,
            "info",
            true,
            || tracing::info!(transport = %"udp", address = %"127.0.0.1:40123", "listening"),
        );
        assert!(
            text.ends_with(" listening transport=udp address=127.0.0.1:40123\n"),
            "{text}"
        );
    }

    #[test]
    fn private_fields_are_redacted() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = lines(
                format,
                "info",
                true,
                || tracing::info!(peer = %"192.0.2.1:5060", aor = "alice@example.com", status = 404, "refused"),
            );
            assert!(
                !text.contains("192.0.2.1") && !text.contains("alice") && text.contains("404"),
                "{text}"
            );
        }
        let text = lines(
            LogFormat::Text,
            "info",
            false,
            || tracing::info!(peer = %"192.0.2.1:5060", "refused"),
        );
        assert!(text.contains("peer=192.0.2.1:5060"), "{text}");
    }

    #[test]
    fn json_lines_are_objects() {
        let text = lines(LogFormat::Json, "info", false, || {
            tracing::warn!(status = 503, policy = "default", "a \"quoted\"\nmessage")
        });
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["level"], "WARN");
        assert_eq!(value["message"], "a \"quoted\"\nmessage");
        assert_eq!(value["status"], 503);
        assert_eq!(value["policy"], "default");
    }

    #[test]
    fn the_filter_decides_by_level() {
        let text = lines(LogFormat::Text, "warn", false, || {
            tracing::info!("hidden");
            tracing::warn!("shown");
        });
        assert!(!text.contains("hidden") && text.contains("shown"), "{text}");
    }

    #[test]
    fn a_value_from_the_network_makes_no_line() {
        let text = lines(
            LogFormat::Text,
            "info",
            false,
            || tracing::info!(call_id = %"a\r\nforged", "seen"),
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
