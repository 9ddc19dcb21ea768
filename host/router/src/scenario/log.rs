//! The log of the policies and of the router while a scenario runs, kept to be shown when it fails.

use std::cell::RefCell;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Lines that are kept between two looks; a policy that writes more has said enough.
const MAX_LINES: usize = 1000;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on log lines of this process are kept, each in the thread that wrote it.
pub(super) fn start() {
    let subscriber = tracing_subscriber::registry().with(Keeper);
    // When there is a subscriber already, lines go there.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Hands over what this thread wrote since the last time.
pub(super) fn take(mut each: impl FnMut(String)) {
    LINES.with_borrow_mut(|lines| lines.drain(..).for_each(&mut each));
}

struct Keeper;

impl<S: Subscriber> Layer<S> for Keeper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let least = match metadata.target() {
            "patchbay::policy" => Level::DEBUG,
            target if target.starts_with("patchbay") => Level::WARN,
            _ => return false,
        };
        *metadata.level() <= least
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(
            format!(
                "log {}: ",
                event.metadata().level().as_str().to_ascii_lowercase()
            ),
            String::new(),
        );
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| {
            if lines.len() < MAX_LINES {
                lines.push(line.0 + &line.1);
            }
        });
    }
}

/// The message, and the fields that tell something here.
struct Line(String, String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text can't fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            "policy" | "policy_version" | "call_id" | "elapsed_us" => Ok(()),
            name => write!(self.1, " {name}={value:?}"),
        };
    }
}
