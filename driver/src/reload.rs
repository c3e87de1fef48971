//! Files that are read again when they change.

mod reread;

pub use reread::Reread;

use crate::runtime::Runtime;
use crate::shutdown::Shutdown;
use crate::sync::Mutex;
use crate::wait::sleep_until;
use std::fmt;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

/// How often files are looked at. A change counts once two looks have found the same, so that a file that is being
/// written, or a certificate whose key follows, is not read half-way: it is in effect after a second at the latest.
///
/// Looking rather than being told: it finds a swapped link in a Kubernetes volume and a change on a network's disk
/// alike, and costs a few system calls.
const LOOK: Duration = Duration::from_millis(300);

/// Which file cannot be used, and why. Displays in Go's words where Go has some (behaviour reference, CLI 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(String);

impl LoadError {
    /// For whoever reads it; without the name of the part that the files are for.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

/// What a set of files looked like: which ones they are, how long, and when they were written and changed in any way: who
/// gives a file its old time of writing back cannot give it that of its change. Symbolic links are followed, as Kubernetes
/// swaps a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<Option<Look>>);

/// Device, inode and length, and the times of writing and of change, each in seconds and nanoseconds.
type Look = ([u64; 3], [i64; 4]);

impl Stamp {
    /// Looks at them.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let look = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some(seen(&meta))
        };
        Self(paths.into_iter().map(look).collect())
    }

    /// There is nothing that could change.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(unix)]
fn seen(meta: &fs::Metadata) -> Look {
    use std::os::unix::fs::MetadataExt;
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    ([meta.dev(), meta.ino(), meta.len()], times)
}

/// Which file it is, no stable interface tells here; length and time have to do.
#[cfg(not(unix))]
fn seen(meta: &fs::Metadata) -> Look {
    let since = meta.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.unwrap_or_default();
    let secs = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    ([0, 0, meta.len()], [secs, i64::from(since.subsec_nanos()), 0, 0])
}

/// Something that is made of files.
pub trait Reload: Send + Sync {
    /// What the files look like now.
    fn stamp(&self) -> Stamp;
    /// What they looked like when they were read.
    fn loaded(&self) -> Stamp;
    /// Reads them again. What runs keeps what it has; what begins gets what is new.
    ///
    /// # Errors
    /// Which file cannot be used, and why; what was loaded before stays.
    fn reload(&self) -> Result<(), LoadError>;
}

struct Item {
    name: String,
    files: Arc<dyn Reload>,
    /// What the files hold is in effect.
    current: AtomicBool,
    /// What was seen at the last look, and what was read last, whether or not it was any good.
    seen: Mutex<(Stamp, Stamp)>,
}

impl Item {
    fn new((name, files): (String, Arc<dyn Reload>)) -> Arc<Self> {
        let seen = Mutex::new((files.loaded(), files.loaded()));
        Arc::new(Self { name, files, current: AtomicBool::new(true), seen })
    }
}

#[derive(Default)]
struct Shared {
    items: Mutex<Vec<Arc<Item>>>,
    loaded: AtomicU64,
    refused: AtomicU64,
}

/// All files of a program that are read again. Cheap to clone.
#[derive(Clone, Default)]
pub struct Reloader {
    shared: Arc<Shared>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = self.items();
        let names: Vec<_> = items.iter().map(|item| &item.name).collect();
        f.debug_struct("Reloader").field("items", &names).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Of these, each with its name for the log, such as `proxy.tls`.
    pub fn new(items: impl IntoIterator<Item = (String, Arc<dyn Reload>)>) -> Self {
        let items = Mutex::new(items.into_iter().map(Item::new).collect());
        Self { shared: Arc::new(Shared { items, ..Shared::default() }) }
    }

    fn items(&self) -> Vec<Arc<Item>> {
        self.shared.items.lock().clone()
    }

    /// One more, in front of the others.
    pub fn add(&self, name: String, files: Arc<dyn Reload>) {
        self.shared.items.lock().insert(0, Item::new((name, files)));
    }

    /// These behind the first one, in place of those that were there. What stays keeps what is known of it.
    pub fn replace_others(&self, others: impl IntoIterator<Item = (String, Arc<dyn Reload>)>) {
        let mut items = self.shared.items.lock();
        let kept = items.len().min(1);
        let before = items.split_off(kept);
        items.extend(others.into_iter().map(|(name, files)| {
            let same = before.iter().find(|item| Arc::ptr_eq(&item.files, &files));
            same.cloned().unwrap_or_else(|| Item::new((name, files)))
        }));
    }

    /// Without any files from here on.
    pub fn clear(&self) {
        self.shared.items.lock().clear();
    }

    /// How often files were read again since the start, and how often what was new was refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.loaded.load(Relaxed), self.shared.refused.load(Relaxed))
    }

    /// Whether all that was read last is in effect: false from a refusal until the mistake is mended.
    pub fn is_current(&self) -> bool {
        self.items().iter().all(|item| item.current.load(Relaxed))
    }

    /// Whether there is any file to read again. What has none gets some by another item, such as the configuration.
    pub fn has_files(&self) -> bool {
        self.items().iter().any(|item| !item.files.loaded().is_empty())
    }

    /// Reads everything again, as an operator asks for with SIGHUP.
    pub fn reload(&self) {
        if !self.has_files() {
            tracing::info!(target: "config", "nothing to reload: no file is in use");
        }
        for item in self.items().iter().filter(|item| !item.files.stamp().is_empty()) {
            self.read(item);
        }
    }

    fn read(&self, item: &Item) {
        let name = item.name.as_str();
        let read = item.files.reload();
        item.current.store(read.is_ok(), Relaxed);
        match read {
            Ok(()) => {
                self.shared.loaded.fetch_add(1, Relaxed);
                tracing::info!(target: "config", part = name, "reloaded");
            }
            Err(error) => {
                self.shared.refused.fetch_add(1, Relaxed);
                tracing::error!(target: "config", { part = name, %error }, "what is new was refused; the old stays");
            }
        }
    }

    /// Looks for changes until `stop` is given. Ends at once where there are no files.
    pub async fn watch<R: Runtime>(self, rt: R, stop: Shutdown) {
        if !self.has_files() {
            return;
        }
        let mut stopped = stop.listener();
        loop {
            let mut sleep = pin!(sleep_until(&rt, rt.now() + LOOK));
            let ended = poll_fn(|cx| {
                if stopped.poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                sleep.as_mut().poll(cx).map(|()| false)
            });
            if ended.await {
                return;
            }
            for item in self.items().iter() {
                let mut seen = item.seen.lock();
                let (last, read) = &mut *seen;
                let stamp = item.files.stamp();
                let settled = stamp == *last;
                *last = stamp;
                // SIGHUP may have been faster. What was refused and is as it was before is judged again, or it would count
                // as refused for ever.
                let is_loaded = *last == item.files.loaded() && item.current.load(Relaxed);
                if settled && *last != *read && !is_loaded {
                    if last.is_empty() {
                        // It has no files any more.
                        item.current.store(true, Relaxed);
                    } else {
                        self.read(item);
                    }
                    *read = last.clone();
                }
            }
        }
    }
}

/// What SIGHUP means to a program: to read its files again, or that the terminal it was started from is gone, with
/// which it should end as it always did.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    was_there: bool,
}

impl Terminal {
    /// Looks whether the program was started from one, and belongs to it: `nohup` takes it off the input, and `setsid` makes
    /// a session of its own, whose SIGHUP comes from an operator.
    #[must_use]
    pub fn look() -> Self {
        Self { was_there: io::stdin().is_terminal() && Self::is_at_hand() }
    }

    fn is_at_hand() -> bool {
        fs::File::open("/dev/tty").is_ok()
    }

    /// Whether it has gone away since: then nothing can be opened under its name (tty(4)).
    #[must_use]
    pub fn is_gone(self) -> bool {
        self.was_there && !Self::is_at_hand()
    }
}
