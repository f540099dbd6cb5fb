//! The thread that takes events and shows them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rbuild_events::{Event, Reporter, Source};

use crate::draw::{Size, draw, draw_last};
use crate::failure;
use crate::json;
use crate::log::{Clip, LogLimits};
use crate::model::Model;
use crate::plain::Plain;
use crate::screen::Screen;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Events that may wait; a reporter that is faster waits too.
const WAITING: usize = 1024;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Live lines that are redrawn in place.
    Tty,
    /// One line after the other, as BuildKit's plain progress.
    Plain,
    /// One JSON object a line, as BuildKit's `--progress=rawjson`.
    RawJson,
    /// Nothing, apart from why the build failed.
    Quiet,
}

impl Mode {
    /// Returns the mode that suits an output which is, or is not, a terminal of type `term` (the
    /// value of `TERM`).
    pub fn auto(is_terminal: bool, term: Option<&str>) -> Self {
        match term {
            Some(term) if is_terminal && !term.is_empty() && term != "dumb" => Self::Tty,
            _ => Self::Plain,
        }
    }
}

/// How much is said of each warning at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Warnings {
    /// A line.
    #[default]
    Listed,
    /// What it is about, where to read on, and the lines of the source.
    Expanded,
}

/// What is known of the output that is written to.
#[derive(Clone)]
pub struct Terminal {
    /// Asked for the present size before each frame; zeros mean "unknown".
    pub size: Arc<dyn Fn() -> Size + Send + Sync>,
    /// Whether it is a terminal, which obeys control bytes.
    pub is_terminal: bool,
    /// Whether colours may be used.
    pub color: bool,
    /// Log lines shown below each running step.
    pub log_lines: usize,
    /// How much of a step's output is shown.
    pub limits: LogLimits,
    /// What the work is called in the heading: `Building`, `Pulling`.
    pub phase: &'static str,
    /// How much is said of warnings.
    pub warnings: Warnings,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("is_terminal", &self.is_terminal)
            .field("color", &self.color)
            .field("log_lines", &self.log_lines)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Terminal {
    /// Returns an output of which only the size is known: a terminal with colours, six log lines a
    /// step, usual limits.
    pub fn new(size: impl Fn() -> Size + Send + Sync + 'static) -> Self {
        Self {
            size: Arc::new(size),
            is_terminal: true,
            color: true,
            log_lines: 6,
            limits: LogLimits::default(),
            phase: "Building",
            warnings: Warnings::Listed,
        }
    }

    /// Returns the settings of a file or pipe.
    pub fn none() -> Self {
        Self { is_terminal: false, color: false, ..Self::new(|| Size { width: 0, height: 0 }) }
    }

    fn present(&self) -> Size {
        let size = (self.size)();
        let known = |value: usize, default: usize| if value == 0 { default } else { value };
        Size { width: known(size.width, 80), height: known(size.height, 24) }
    }
}

/// What a build that failed has to say at the end.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// The error, without `ERROR: ` before it; empty if the caller prints it itself.
    pub message: String,
    /// The place in the source that failed.
    pub source: Option<Source>,
}

/// Shows progress until it is finished or dropped.
#[derive(Debug)]
pub struct Display {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
enum Message {
    Event(Box<Event>, SystemTime),
    Finish(Option<Failure>),
}

struct Sender(SyncSender<Message>);

impl Reporter for Sender {
    fn report(&self, event: Event) {
        // After the end nobody listens, and nothing is lost.
        drop(self.0.send(Message::Event(Box::new(event), SystemTime::now())));
    }
}

impl Display {
    /// Starts to show progress on `writer`; events go to the returned reporter, from any thread.
    pub fn spawn(mode: Mode, writer: Box<dyn Write + Send>, terminal: Terminal) -> (Arc<dyn Reporter>, Self) {
        let (sender, receiver) = sync_channel(WAITING);
        let view = View::new(mode, writer, terminal);
        let thread = std::thread::spawn(move || run(view, &receiver));
        (Arc::new(Sender(sender.clone())), Self { sender, thread: Some(thread) })
    }

    /// Draws the last frame, warnings, and what failed; returns when all is written.
    pub fn finish(mut self, failure: Option<Failure>) -> io::Result<()> {
        self.end(failure)
    }

    fn end(&mut self, failure: Option<Failure>) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // A thread that ended early says why below.
        drop(self.sender.send(Message::Finish(failure)));
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the progress display failed")))
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // Whoever drops it does not want to know.
        drop(self.end(None));
    }
}

/// Takes messages until the end; after an error of the writer, takes them without showing them.
fn run(mut view: View, receiver: &Receiver<Message>) -> io::Result<()> {
    let mut result = Ok(());
    let mut shown = Instant::now();
    loop {
        let wait = FRAME.saturating_sub(shown.elapsed());
        let step = match receiver.recv_timeout(wait) {
            Ok(Message::Finish(failure)) => {
                let last = view.finish(failure);
                return result.and(last);
            }
            Ok(Message::Event(event, now)) => view.take(*event, now),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => return result,
        };
        let step = step.and_then(|()| {
            if shown.elapsed() < FRAME {
                return Ok(());
            }
            shown = Instant::now();
            view.frame(SystemTime::now())
        });
        if result.is_ok() && step.is_err() {
            view.give_up();
            result = step;
        }
    }
}

/// A model and the way it is shown.
struct View {
    model: Model,
    clips: HashMap<usize, Clip>,
    terminal: Terminal,
    way: Way,
}

enum Way {
    Tty(Screen<Box<dyn Write + Send>>),
    Plain(Plain, Box<dyn Write + Send>),
    RawJson(Box<dyn Write + Send>),
    Quiet(Box<dyn Write + Send>),
}

impl View {
    fn new(mode: Mode, writer: Box<dyn Write + Send>, terminal: Terminal) -> Self {
        let way = match mode {
            Mode::Tty => Way::Tty(Screen::new(writer, terminal.color)),
            Mode::Plain => Way::Plain(Plain::new(terminal.is_terminal), writer),
            Mode::RawJson => Way::RawJson(writer),
            Mode::Quiet => Way::Quiet(writer),
        };
        Self { model: Model::new(terminal.phase), clips: HashMap::new(), terminal, way }
    }

    fn take(&mut self, event: Event, now: SystemTime) -> io::Result<()> {
        let at = self.model.fold(&event, now);
        let Some(event) = self.clip(event, at) else { return Ok(()) };
        match &mut self.way {
            Way::Tty(_) | Way::Quiet(_) => Ok(()),
            Way::Plain(plain, _) => {
                if let Some(at) = at {
                    plain.take(&event, at, &self.model, now);
                }
                Ok(())
            }
            Way::RawJson(writer) => {
                let step = at.map(|at| &self.model.steps[at]);
                match json::line(&event, step, now) {
                    Some(line) => writer.write_all(line.as_bytes()),
                    None => Ok(()),
                }
            }
        }
    }

    /// Returns the event with as much of a log as the limits allow; none if nothing is left.
    fn clip(&mut self, event: Event, at: Option<usize>) -> Option<Event> {
        let (Event::Log { vertex, stream, data, at: moment }, Some(at)) = (&event, at) else { return Some(event) };
        let clip = self.clips.entry(at).or_insert_with(|| Clip::new(self.terminal.limits));
        let data = clip.pass(data, *moment);
        let (vertex, stream, at) = (*vertex, *stream, *moment);
        (!data.is_empty()).then_some(Event::Log { vertex, stream, data, at })
    }

    fn frame(&mut self, now: SystemTime) -> io::Result<()> {
        match &mut self.way {
            Way::Tty(screen) if self.model.started.is_some() => {
                let size = self.terminal.present();
                screen.draw(&draw(&self.model, now, size, self.terminal.log_lines), size.width)
            }
            Way::Plain(plain, writer) => send(writer, &plain.flush(&self.model, now, false)),
            Way::RawJson(writer) => writer.flush(),
            Way::Tty(_) | Way::Quiet(_) => Ok(()),
        }
    }

    fn finish(&mut self, failure: Option<Failure>) -> io::Result<()> {
        let now = SystemTime::now();
        let color = self.terminal.color;
        let report = failure.map(|failure| failure::report(&self.model, &failure, color)).unwrap_or_default();
        let text = failure::warnings(&self.model.warnings, self.terminal.warnings, color) + &report;
        match &mut self.way {
            Way::Tty(screen) => {
                if self.model.started.is_some() {
                    let width = self.terminal.present().width;
                    screen.draw(&draw_last(&self.model, now, width), width)?;
                }
                screen.append(text.as_bytes())
            }
            Way::Plain(plain, writer) => {
                let mut last = plain.flush(&self.model, now, true);
                last.extend_from_slice(text.as_bytes());
                send(writer, &last)
            }
            Way::RawJson(writer) => writer.flush(),
            Way::Quiet(writer) => send(writer, report.as_bytes()),
        }
    }

    /// Writes no more.
    fn give_up(&mut self) {
        self.way = Way::Quiet(Box::new(io::sink()));
    }
}

fn send(writer: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    writer.write_all(bytes)?;
    writer.flush()
}
