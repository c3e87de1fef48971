//! Where lines of the access log wait for stderr: one bounded buffer per process and one thread that empties
//! it, so that a request never waits for a pipe.
//!
//! ```text
//!             push                 16 KiB, 50 ms, or flush
//!   idle ───────────────► gathering ─────────────────────► writing ──► idle
//! ```
//!
//! The thread starts with the first line and sleeps without a timer while there is nothing to write.

use crate::log::{Level, Line};
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// A batch is written once it has this many bytes.
pub(crate) const BATCH_BYTES: usize = 16 * 1024;
/// Longest wait of a line for its batch.
const LATENCY: Duration = Duration::from_millis(50);
/// More bytes than this never wait; lines beyond it are dropped and counted.
pub(crate) const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// A buffer that a burst has grown beyond this is given back.
const KEPT_BYTES: usize = 4 * BATCH_BYTES;
/// Most bytes of one write: what a pipe usually holds.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// How often a flush looks whether bytes move.
const MOVES_LOOK: Duration = Duration::from_millis(20);
/// The thread copies bytes and calls `write`, so that the smallest usual stack is plenty.
const STACK_BYTES: usize = 64 * 1024;
/// A non-blocking stderr that is full is tried again this often, and this many times before its batch is lost.
const FULL_RETRY: Duration = Duration::from_millis(10);
const FULL_RETRIES_MAX: u32 = 100;

/// The sink of this process, once there is an access log.
static STDERR: OnceLock<Arc<Sink>> = OnceLock::new();

/// Writes a line of the log to stderr at once. While the thread is writing there, the line joins the next batch
/// instead: whoever logs would otherwise wait for the pipe with it. Lines of level error do wait, because they
/// may be the last words of the process.
pub(crate) fn write_log_line(level: Level, line: &[u8]) {
    let deferred = level < Level::Error && STDERR.get().is_some_and(|sink| sink.push_behind(line));
    if !deferred {
        // One write per line: `Stderr` has no buffer of its own. A closed stderr loses lines, it does not end
        // the process.
        let _ = std::io::stderr().lock().write_all(line);
    }
}

/// How long a flush waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a byte that moved.
    pub(crate) quiet: Duration,
    /// At all.
    pub(crate) total: Duration,
}

/// The bounded buffer. Shared by all access logs of the process.
pub(crate) struct Sink {
    state: Mutex<State>,
    /// There is something to write, or it is wanted now.
    wake: Condvar,
    /// A batch has been written or lost.
    done: Condvar,
    output: Mutex<Output>,
    /// How often bytes went out. Only changes of it count, so that a word is enough.
    moved: AtomicUsize,
    /// Whose lines these are, for the line that tells of losses.
    subsystem: &'static str,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// Lines in `pending`.
    lines: u64,
    /// Lines that were dropped and have not been told of.
    untold: u64,
    /// Lines that were ever dropped.
    dropped: u64,
    thread: Thread,
    /// Somebody waits for the batch.
    hurry: bool,
    /// Somebody has waited in vain, and nothing was written since.
    stuck: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// Waits for the first line of a batch.
    Idle,
    /// Waits for a batch to grow.
    Gathering,
    /// There is none yet.
    #[default]
    None,
    /// Will look at the state before it sleeps.
    Running,
    /// Writes a batch, and will look at the state before it sleeps.
    Writing,
}

struct Output {
    to: Box<dyn Write + Send>,
    /// The last write stopped inside a line.
    torn: bool,
}

impl Sink {
    pub(crate) fn new(to: Box<dyn Write + Send>, subsystem: &'static str) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            output: Mutex::new(Output { to, torn: false }),
            moved: AtomicUsize::new(0),
            subsystem,
        })
    }

    /// The one of this process. The first `subsystem` that asks is the one that tells of losses.
    pub(crate) fn stderr(subsystem: &'static str) -> Arc<Self> {
        // `Stderr` locks itself for each write, so that lines of the log do not land inside a batch.
        Arc::clone(STDERR.get_or_init(|| Self::new(Box::new(std::io::stderr()), subsystem)))
    }

    /// Appends one line, which `write` formats with its line end. A full buffer drops it instead.
    pub(crate) fn push(self: &Arc<Self>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let before = state.pending.len();
        if before < PENDING_BYTES_MAX {
            write(&mut state.pending);
        }
        if before >= PENDING_BYTES_MAX || state.pending.len() > PENDING_BYTES_MAX {
            state.pending.truncate(before);
            state.dropped += 1;
            state.untold += 1;
            return;
        }
        state.lines += 1;
        let was = state.thread;
        let wanted = match was {
            Thread::Idle | Thread::None => true,
            Thread::Gathering => state.pending.len() >= BATCH_BYTES,
            Thread::Running | Thread::Writing => false,
        };
        if wanted {
            // Others need not wake it again.
            state.thread = Thread::Running;
        }
        drop(state);
        if was == Thread::None {
            self.start();
        } else if wanted {
            self.wake.notify_one();
        }
    }

    /// Takes a line if a batch is just being written; false leaves it to the caller.
    fn push_behind(&self, line: &[u8]) -> bool {
        let mut state = self.lock();
        if state.thread != Thread::Writing {
            return false;
        }
        if state.pending.len() + line.len() > PENDING_BYTES_MAX {
            state.dropped += 1;
            state.untold += 1;
        } else {
            state.pending.extend_from_slice(line);
            state.lines += 1;
            state.hurry = true;
        }
        true
    }

    /// Lines that were dropped since the process began: stderr was full or closed.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Asks for what is pending to be written and waits for it as long as `patience` allows. True when all is
    /// written.
    pub(crate) fn flush(&self, patience: Patience) -> bool {
        let start = Instant::now();
        let mut moved = (self.moved.load(Ordering::Relaxed), start);
        let mut state = self.lock();
        while !state.pending.is_empty() || state.thread == Thread::Writing {
            let now = Instant::now();
            let moves = self.moved.load(Ordering::Relaxed);
            if moves != moved.0 {
                moved = (moves, now);
            }
            let until = (moved.1 + patience.quiet).min(start + patience.total);
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                state.stuck = true;
                return false;
            }
            state.hurry = true;
            self.wake.notify_one();
            // Moves within a batch are not told, so that they are looked for.
            let wait = left.min(MOVES_LOOK);
            state = self.done.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// As [`Sink::flush`], but waits for nothing where another has waited in vain: a process that closes many
    /// logs waits once.
    pub(crate) fn flush_unless_stuck(&self, patience: Patience) {
        if !self.lock().stuck {
            self.flush(patience);
        }
    }

    fn start(self: &Arc<Self>) {
        let sink = Arc::clone(self);
        let thread = thread::Builder::new().name("piko-log".to_owned()).stack_size(STACK_BYTES);
        if thread.spawn(move || sink.run()).is_err() {
            // Without threads the line is written here; the next one tries again.
            let mut batch = Vec::new();
            let mut state = self.lock();
            let untold = take(&mut state, &mut batch);
            drop(state);
            self.write(&mut batch, untold.told);
            self.lock().thread = Thread::None;
            self.done.notify_all();
        }
    }

    fn run(&self) {
        let mut batch = Vec::new();
        let mut state = self.lock();
        loop {
            while state.pending.is_empty() {
                state.thread = Thread::Idle;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let until = Instant::now() + LATENCY;
            while state.pending.len() < BATCH_BYTES && !state.hurry {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state.thread = Thread::Gathering;
                state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            let taken = take(&mut state, &mut batch);
            drop(state);
            let written = self.write(&mut batch, taken.told);
            state = self.lock();
            if !written {
                state.dropped += taken.lines;
                state.untold += taken.lines + taken.told;
            }
            state.thread = Thread::Running;
            state.stuck = false;
            self.done.notify_all();
        }
    }

    /// Writes a batch and empties it. False when it was lost.
    fn write(&self, batch: &mut Vec<u8>, dropped: u64) -> bool {
        if dropped > 0 {
            let mut line = Line::start(batch, Level::Warn, SystemTime::now());
            line.subsystem(self.subsystem);
            line.message("log lines dropped");
            line.number("dropped", dropped);
            line.end();
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let written = output.write(batch, &self.moved);
        drop(output);
        batch.clear();
        if batch.capacity() > KEPT_BYTES {
            *batch = Vec::new();
        }
        written
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under the lock left whole lines or the beginning of one: both are better than none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`take`] took besides the bytes.
struct Taken {
    lines: u64,
    /// Dropped lines that the batch is to tell of.
    told: u64,
}

/// Moves what is pending into `batch`, which is empty and whose memory the next lines use.
fn take(state: &mut State, batch: &mut Vec<u8>) -> Taken {
    std::mem::swap(&mut state.pending, batch);
    state.thread = Thread::Writing;
    state.hurry = false;
    Taken { lines: std::mem::take(&mut state.lines), told: std::mem::take(&mut state.untold) }
}

impl Output {
    /// Writes all of `batch`; false when the end of it was lost.
    fn write(&mut self, batch: &[u8], moved: &AtomicUsize) -> bool {
        if self.torn && self.to.write(b"\n").is_ok() {
            self.torn = false;
        }
        let mut rest = batch;
        let mut full = 0;
        while !rest.is_empty() {
            match self.to.write(piece(rest)) {
                Ok(n) if n > 0 => {
                    moved.fetch_add(1, Ordering::Relaxed);
                    rest = rest.get(n..).unwrap_or_default();
                    full = 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A terminal or pipe that another process made non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock && full < FULL_RETRIES_MAX => {
                    full += 1;
                    thread::sleep(FULL_RETRY);
                }
                _ => {
                    let sent = batch.len() - rest.len();
                    self.torn |= batch[..sent].last().is_some_and(|&b| b != b'\n');
                    return false;
                }
            }
        }
        true
    }
}

/// What one write takes: whole lines as far as they fit, so that a reader who is slow is told from one who is
/// gone, and a process that ends while its reader is gone has cut no line in most cases.
fn piece(rest: &[u8]) -> &[u8] {
    let Some(most) = rest.get(..PIECE_BYTES_MAX) else { return rest };
    let lines = most.iter().rposition(|&b| b == b'\n').map_or(most.len(), |end| end + 1);
    most.get(..lines).unwrap_or(most)
}

#[cfg(test)]
mod tests;
