//! Scenarios of events, and what each way to show progress makes of them.

mod live;
mod streams;
mod terminal;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rbuild_events::{Event, Outcome, Status, Stream, Vertex, Warning};
use rbuild_oci::Digest;

fn at(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_700_000_000.0 + seconds)
}

fn id(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn vertex(name: &str) -> Event {
    Event::Vertex(Vertex { digest: id(name), name: name.to_owned(), inputs: Vec::new() })
}

fn started(name: &str, seconds: f64) -> Event {
    Event::Started { vertex: id(name), at: at(seconds) }
}

fn completed(name: &str, seconds: f64, outcome: Outcome) -> Event {
    Event::Completed { vertex: id(name), at: at(seconds), outcome }
}

fn log(name: &str, seconds: f64, text: &str) -> Event {
    Event::Log { vertex: id(name), stream: Stream::Stdout, data: text.into(), at: at(seconds) }
}

fn status(name: &str, part: &str, current: u64, total: u64, completed: Option<f64>) -> Event {
    let (vertex, part) = (id(name), part.to_owned());
    Event::Status(Status { vertex, id: part, current, total, started: at(0.0), completed: completed.map(at) })
}

fn warning(short: &str) -> Event {
    let (short, detail, url) = (short.to_owned(), vec!["more".to_owned()], "https://help".to_owned());
    Event::Warning(Warning { vertex: id("w"), short, detail, url, source: None })
}

/// A writer that can still be read when it was given away.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
