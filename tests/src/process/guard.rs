//! One child process: its output by lines, its signals, its end.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};

use super::procfs::{self, Memory};

/// Lines kept per process; older ones are forgotten, so that an access log does not fill the memory.
const LINES_MAX: usize = 100_000;
/// Bytes kept of one line.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Lines shown when a wait fails.
const SHOWN: usize = 20;
/// How often the end of a process is looked for.
const STEP: Duration = Duration::from_millis(5);
/// How long the last words of a process that has ended may be on their way here. They take no longer than the thread
/// that reads them needs to get its turn, unless a child of the process lives on and keeps the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The signals that tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Go on after a stop.
    Cont,
    /// Please reload.
    Hup,
    /// Interrupted by the user.
    Int,
    /// The end, without a word.
    Kill,
    /// Freeze, as a machine that hangs.
    Stop,
    /// Please end.
    Term,
}

/// Which stream of the process a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

/// One line that a process wrote, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the order of arrival, from 0, over both streams.
    pub index: usize,
    /// Where it was written.
    pub source: Source,
    /// The text, with replacement characters where it was no UTF-8.
    pub text: String,
}

impl Line {
    /// The line as a JSON object, when it is one.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.text).ok().filter(serde_json::Value::is_object)
    }

    /// Is this the log record `msg`?
    pub fn is_record(&self, msg: &str) -> bool {
        self.json().is_some_and(|v| v.get("msg").and_then(|m| m.as_str()) == Some(msg))
    }
}

/// Where the output of a process goes.
#[derive(Clone, Copy, Debug)]
pub enum Capture<'a> {
    /// Both streams into one file, for programs under load whose reader would cost processor time.
    File(&'a Path),
    /// Line by line into memory, at most the last 100,000 lines.
    Lines,
}

/// Why no line came.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// The time is up; the last lines are listed.
    Deadline(String),
    /// The process closed its output or ended; the last lines are listed.
    Ended(String),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline(lines) => write!(f, "no such line in time; the last lines were:\n{lines}"),
            Self::Ended(lines) => write!(f, "no such line before the end; the last lines were:\n{lines}"),
        }
    }
}

impl std::error::Error for WaitError {}

/// A child process that is killed when this value is dropped.
///
/// Only the child's own process id ever gets a signal, and only while it has not been waited for, so the id
/// cannot belong to somebody else.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
    grace: Duration,
}

#[derive(Debug, Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    /// The number of the next line.
    next: usize,
    /// Streams that may still deliver.
    open: usize,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts a program with its output captured by lines and nothing to read.
    ///
    /// # Errors
    ///
    /// Those of starting a program.
    pub fn spawn(name: &str, command: &mut Command) -> io::Result<Self> {
        Self::spawn_with(name, command, Capture::Lines)
    }

    /// Starts a program with its output where `capture` says.
    ///
    /// # Errors
    ///
    /// Those of starting a program, and of creating the file.
    pub fn spawn_with(name: &str, command: &mut Command, capture: Capture<'_>) -> io::Result<Self> {
        match capture {
            Capture::File(path) => {
                let file = File::create(path)?;
                command.stdout(file.try_clone()?).stderr(file);
            }
            Capture::Lines => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let output = Arc::new(Output::default());
        if let Some(stream) = child.stdout.take() {
            collect(&output, Source::Stdout, stream);
        }
        if let Some(stream) = child.stderr.take() {
            collect(&output, Source::Stderr, stream);
        }
        Ok(Self { name: name.to_owned(), child, output, grace: Duration::ZERO })
    }

    /// Lets the drop ask with SIGTERM and wait this long before it kills: for programs that have children of
    /// their own to take along.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The name that was given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// `NotFound` when the process has ended.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        use rustix::process::Signal as Raw;
        if self.try_wait()?.is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} has ended", self.name)));
        }
        let raw = match signal {
            Signal::Cont => Raw::CONT,
            Signal::Hup => Raw::HUP,
            Signal::Int => Raw::INT,
            Signal::Kill => Raw::KILL,
            Signal::Stop => Raw::STOP,
            Signal::Term => Raw::TERM,
        };
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process id out of range"))?;
        Ok(kill_process(pid, raw)?)
    }

    /// How the process ended, if it has.
    ///
    /// # Errors
    ///
    /// Those of `waitpid`.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for the end of the process and for all that it has said: [`Self::lines`] has its last line then.
    ///
    /// # Errors
    ///
    /// `TimedOut` when it still runs after `within`.
    pub fn wait_exit(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let status = self.wait_end(within)?;
        let state = self.output.lock();
        let waited = self.output.changed.wait_timeout_while(state, LAST_WORDS, |state| state.open > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Ok(status)
    }

    fn wait_end(&mut self, within: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let text = format!("{} still runs after {within:?}\n{}", self.name, self.tail());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(STEP);
        }
    }

    /// The number that the next line will have. Pass it to [`Self::wait_line`] to wait for something new.
    pub fn mark(&self) -> usize {
        self.output.lock().next
    }

    /// All kept lines from number `from` on.
    pub fn lines(&self, from: usize) -> Vec<Line> {
        self.output.lock().lines.iter().filter(|l| l.index >= from).cloned().collect()
    }

    /// Waits for a line with number `from` or higher that `wanted` likes.
    ///
    /// # Errors
    ///
    /// When `within` has passed, or all output has ended without such a line.
    pub fn wait_line(
        &self,
        from: usize,
        within: Duration,
        mut wanted: impl FnMut(&Line) -> bool,
    ) -> Result<Line, WaitError> {
        let deadline = Instant::now() + within;
        let mut next = from;
        let mut state = self.output.lock();
        loop {
            // The numbers are dense, so the lines that were looked at before are skipped without a walk.
            let first = state.next - state.lines.len();
            for line in state.lines.range(next.saturating_sub(first).min(state.lines.len())..) {
                if wanted(line) {
                    return Ok(line.clone());
                }
            }
            next = next.max(state.next);
            let left = deadline.saturating_duration_since(Instant::now());
            if state.open == 0 {
                return Err(WaitError::Ended(tail(&self.name, &state)));
            }
            if left.is_zero() {
                return Err(WaitError::Deadline(tail(&self.name, &state)));
            }
            let waited = self.output.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the log record `msg` (a JSON line) and returns it.
    ///
    /// # Errors
    ///
    /// As [`Self::wait_line`].
    pub fn wait_record(
        &self,
        from: usize,
        within: Duration,
        msg: &str,
    ) -> Result<(usize, serde_json::Value), WaitError> {
        let line = self.wait_line(from, within, |l| l.is_record(msg))?;
        let value = line.json().unwrap_or_default();
        Ok((line.index, value))
    }

    /// The last lines, for messages of failed tests.
    pub fn tail(&self) -> String {
        tail(&self.name, &self.output.lock())
    }

    /// Resident memory.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn memory(&self) -> io::Result<Memory> {
        procfs::memory(self.pid())
    }

    /// Processor time of all threads of the process and of its descendants.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        procfs::tree(self.pid()).into_iter().map(procfs::cpu_time).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.grace.is_zero() && self.signal(Signal::Term).is_ok() {
            let _ = self.wait_end(self.grace);
        }
        // Does nothing when the child was already waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(name: &str, state: &State) -> String {
    let skip = state.lines.len().saturating_sub(SHOWN);
    state.lines.iter().skip(skip).map(|l| format!("  [{name}] {}\n", l.text)).collect()
}

/// Reads one stream to its end on a thread of its own, so that the child never waits for its reader.
fn collect(output: &Arc<Output>, source: Source, stream: impl Read + Send + 'static) {
    output.lock().open += 1;
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
            if !matches!(read, Ok(n) if n > 0) {
                break;
            }
            let text = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
            let mut state = output.lock();
            let index = state.next;
            state.next += 1;
            if state.lines.len() == LINES_MAX {
                state.lines.pop_front();
            }
            state.lines.push_back(Line { index, source, text });
            drop(state);
            output.changed.notify_all();
        }
        output.lock().open -= 1;
        output.changed.notify_all();
    });
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
