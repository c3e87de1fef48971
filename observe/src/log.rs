//! Every `tracing` event as one JSON line on stderr, in the shape of Go Piko v0.9 (behaviour of the server,
//! section 12).
//!
//! ```text
//! {"level":"info","ts":"2026-01-25T09:30:04.26Z","subsystem":"gossip","msg":"node joined","node-id":"a"}
//! ```
//!
//! The subsystem is the target of the event (`target: "proxy.access"`). Events whose target is a module path,
//! as those of libraries are, go under its first segment without `piko_`: `piko_core::mux` is `core`. Names
//! with dashes are quoted, and the fields then stand in braces, or the macro takes the name for the message:
//! `info!(target: "gossip", { "node-id" = %id }, "node joined")`. A list is given as [`List`], so that it
//! becomes a JSON array.
//!
//! Spans are not printed. Lines of `trace` level say `debug`, the lowest level that readers of these logs know.

mod level;
mod line;
mod list;
#[cfg(feature = "yaml")]
mod reloaded;

pub use level::{BadLevel, Level};
pub use list::List;
#[cfg(feature = "yaml")]
pub use reloaded::reloaded;

use crate::sink::write_log_line;
pub(crate) use line::Line;
use std::cell::Cell;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// Buffers that grew beyond this many bytes are given back instead of kept.
const LINE_BYTES_KEPT: usize = 16 * 1024;

/// Which lines are written (`--log.level`, `--log.subsystems`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The lowest level that is written.
    pub level: Level,
    /// Subsystems of which every line is written, whatever its level. Matched exactly: `proxy` does not cover
    /// `proxy.access`.
    pub subsystems: Vec<String>,
}

impl Options {
    /// True when a line of `level` in `subsystem` is written.
    pub fn allows(&self, level: Level, subsystem: &str) -> bool {
        level >= self.level || self.names(subsystem)
    }

    fn names(&self, subsystem: &str) -> bool {
        self.subsystems.iter().any(|name| name == subsystem)
    }
}

/// What the log of the process writes.
static CURRENT: RwLock<Options> = RwLock::new(Options { level: Level::Info, subsystems: Vec::new() });

/// Installs the log as the subscriber of the whole process. Call it once, before threads start.
///
/// # Errors
/// [`AlreadySet`] when the process has a subscriber; its lines stay as they are then.
pub fn init(options: Options) -> Result<(), AlreadySet> {
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = options;
    let log = Log { options: &CURRENT, write: write_log_line };
    tracing::subscriber::set_global_default(log).map_err(|_| AlreadySet)
}

/// Has the log that [`init`] installed write something else from here on.
pub fn set(options: Options) {
    *CURRENT.write().unwrap_or_else(PoisonError::into_inner) = options;
    // Callsites remember what they were told.
    tracing::callsite::rebuild_interest_cache();
}

/// The process has a `tracing` subscriber already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadySet;

impl fmt::Display for AlreadySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a log is installed already")
    }
}

impl std::error::Error for AlreadySet {}

/// The subscriber. `W` takes whole lines with their line end, and their level.
struct Log<W> {
    /// Read when a callsite asks for the first time, and when everything is asked again.
    options: &'static RwLock<Options>,
    write: W,
}

impl<W> Log<W> {
    fn options(&self) -> RwLockReadGuard<'_, Options> {
        self.options.read().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The line under construction. Taken while it is used: a value that logs while it is formatted finds an
    /// empty one.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<W: Fn(Level, &[u8]) + 'static> Subscriber for Log<W> {
    /// The answer per callsite stays until [`set`], so that `tracing` asks once and a disabled event costs one load.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && self.options().allows(Level::of(metadata.level()), subsystem(metadata.target()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // A named subsystem is written from its lowest level on, and levels are all that a hint can tell.
        let options = self.options();
        Some(if options.subsystems.is_empty() { options.level.filter() } else { LevelFilter::TRACE })
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        // At the end of a thread its buffer may be gone; the line is written from a new one.
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        let level = Level::of(metadata.level());
        let mut line = Line::start(&mut buffer, level, std::time::SystemTime::now());
        line.subsystem(subsystem(metadata.target()));
        line.fields(event);
        line.end();
        (self.write)(level, &buffer);
        if buffer.capacity() <= LINE_BYTES_KEPT {
            let _ = BUFFER.try_with(|kept| kept.set(buffer));
        }
    }

    // Spans are disabled in `enabled`, so that nobody calls these with a span of ours.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The subsystem of a target: see the module's documentation.
fn subsystem(target: &str) -> &str {
    let first = target.split("::").next().unwrap_or(target);
    first.strip_prefix("piko_").filter(|rest| !rest.is_empty()).unwrap_or(first)
}

#[cfg(test)]
mod tests;
