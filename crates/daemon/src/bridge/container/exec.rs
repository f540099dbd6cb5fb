//! Processes of containers: one stream of messages for all of a frontend's.
//!
//! Messages of a process come in this order: `Started`, what it writes, `Exit`, and `Done` when nothing more of it
//! comes. Why a process could not be started is told by `Exit`, too; what ends the stream are messages that cannot be
//! understood.

use std::collections::HashMap;
use std::sync::Arc;

use rbuild_buildkit_api::gateway::{
    DoneMessage, ExecMessage, ExecMessageInput, ExitMessage, FdMessage, InitMessage, StartedMessage,
};
use rbuild_ops::{OpsError, ProcessFailed};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::attached::Attached;
use super::{Held, MAX_NAME, name, signal, start};
use crate::build::Build;
use crate::fault::Fault;

/// The most processes that one stream names, those included that have ended.
const MAX_KNOWN: usize = 10_000;
/// The exit code of processes that ended for other reasons than their own.
const UNKNOWN: u32 = 255;

/// Where messages to the frontend go.
pub(super) type Sender = mpsc::Sender<Result<ExecMessage, Status>>;

/// Answers a frontend's messages until it wants no more, or the build ends.
pub(in crate::bridge) async fn serve(build: Arc<Build>, mut messages: Streaming<ExecMessage>, sender: Sender) {
    let mut exec = Exec { build: build.clone(), sender: sender.clone(), processes: HashMap::new() };
    let listening = build.unless_canceled(exec.listen(&mut messages));
    let ended = tokio::select! {
        ended = listening => ended,
        () = sender.closed() => Ok(()),
    };
    if let Err(fault) = ended {
        let _ = sender.send(Err(fault.into())).await;
    }
}

struct Exec {
    build: Arc<Build>,
    sender: Sender,
    processes: HashMap<String, Arc<Attached>>,
}

impl Exec {
    async fn listen(&mut self, messages: &mut Streaming<ExecMessage>) -> Result<(), Fault> {
        // A stream that breaks ends as one that was closed does: its processes belong to their containers.
        while let Ok(Some(message)) = messages.message().await {
            self.take(message).await?;
        }
        Ok(())
    }

    async fn take(&mut self, message: ExecMessage) -> Result<(), Fault> {
        let id = message.process_id;
        if id.is_empty() || id.len() > MAX_NAME {
            return Err(Fault::with_code(Code::InvalidArgument, "ProcessID required"));
        }
        match message.input {
            Some(ExecMessageInput::Init(init)) => self.begin(id, init).await,
            Some(ExecMessageInput::File(file)) if file.fd != 0 => {
                Err(Fault::with_code(Code::OutOfRange, format!("fd {} unavailable to write", file.fd)))
            }
            Some(ExecMessageInput::File(FdMessage { data, eof, .. })) => {
                self.find(&id)?.write(data, eof).await;
                Ok(())
            }
            Some(ExecMessageInput::Resize(size)) => self.find(&id)?.resize(size.rows, size.cols),
            Some(ExecMessageInput::Signal(sent)) => {
                let process = self.find(&id)?;
                let unknown = || format!("Unknown signal {}", name(&sent.name));
                let number = signal::number(&sent.name);
                process.signal(number.ok_or_else(|| Fault::with_code(Code::InvalidArgument, unknown()))?)
            }
            Some(ExecMessageInput::Started(_) | ExecMessageInput::Exit(_) | ExecMessageInput::Done(_)) | None => {
                Err(Fault::with_code(Code::InvalidArgument, "a message that is not a frontend's to send"))
            }
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Attached>, Fault> {
        let unknown = || Fault::with_code(Code::NotFound, format!("IO for process {:?} not found", name(id)));
        self.processes.get(id).cloned().ok_or_else(unknown)
    }

    async fn begin(&mut self, id: String, init: InitMessage) -> Result<(), Fault> {
        if self.processes.contains_key(&id) {
            return Err(Fault::with_code(Code::AlreadyExists, format!("Process {} already exists", name(&id))));
        }
        let containers = self.build.containers();
        let unknown = || format!("container {:?} previously released or not created", name(&init.container_id));
        let held = containers.find(&init.container_id);
        let held = held.ok_or_else(|| Fault::with_code(Code::NotFound, unknown()))?;
        let place = containers.processes.clone().try_acquire_owned().ok().filter(|_| self.processes.len() < MAX_KNOWN);
        let place = place.ok_or_else(|| Fault::with_code(Code::ResourceExhausted, "too many processes"))?;
        let wanted = init.fds.clone();
        held.alive.send_modify(|count| *count += 1);
        let alive = Alive(held.clone());
        let started = start(&self.build, &held, init).await;
        self.tell(&id, ExecMessageInput::Started(StartedMessage {})).await?;
        let process = match started {
            Ok(process) => process,
            Err(fault) => {
                held.failed(&fault);
                self.processes.insert(id.clone(), Arc::default());
                self.tell(&id, ExecMessageInput::Exit(exit(Err(fault)))).await?;
                return self.tell(&id, ExecMessageInput::Done(DoneMessage {})).await;
            }
        };
        let (attached, ending) = Attached::attach(process, &id, &wanted, &self.sender)
            .map_err(|error| Fault::of(&error).context("attaching to a process"))?;
        let attached = Arc::new(attached);
        self.processes.insert(id.clone(), attached.clone());
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let ended = ending.exit.await.unwrap_or(Err(OpsError::Panicked)).map_err(fault);
            attached.ended();
            if let Err(fault) = &ended {
                held.failed(fault);
            }
            drop((alive, place));
            // Nobody may listen any more; then nothing is to be told.
            let _ = sender.send(Ok(message(&id, ExecMessageInput::Exit(exit(ended))))).await;
            for output in ending.outputs {
                let _ = output.await;
            }
            let _ = sender.send(Ok(message(&id, ExecMessageInput::Done(DoneMessage {})))).await;
        });
        Ok(())
    }

    async fn tell(&self, id: &str, input: ExecMessageInput) -> Result<(), Fault> {
        self.sender.send(Ok(message(id, input))).await.map_err(|_| Fault::canceled())
    }
}

/// A process that has not been waited for.
struct Alive(Arc<Held>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.send_modify(|count| *count = count.saturating_sub(1));
    }
}

pub(super) fn message(id: &str, input: ExecMessageInput) -> ExecMessage {
    ExecMessage { process_id: id.to_owned(), input: Some(input) }
}

fn fault(error: OpsError) -> Fault {
    match error {
        OpsError::GivenUp => Fault::canceled(),
        OpsError::Process(ProcessFailed { code, reason, out_of_memory, .. }) => {
            let memory = if out_of_memory { ": out of memory" } else { "" };
            let message = reason.unwrap_or_else(|| format!("exit code: {code}{memory}"));
            Fault::new(message).with_exit_code(code)
        }
        error => error.into(),
    }
}

fn exit(ended: Result<(), Fault>) -> ExitMessage {
    match ended {
        Ok(()) => ExitMessage::default(),
        Err(fault) => {
            let code = fault.exit_code().and_then(|code| u32::try_from(code).ok()).filter(|code| *code != 0);
            ExitMessage { code: code.unwrap_or(UNKNOWN), error: Some(fault.to_rpc()) }
        }
    }
}
