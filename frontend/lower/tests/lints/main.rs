//! The lint rules as a whole build sees them (section 12), and the answers to subrequests as golden folders.

mod answers;
mod cases;
#[allow(dead_code, reason = "shared by several tests")]
#[path = "../common/mod.rs"]
mod common;
mod rules;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use common::{Host, host_ignoring};
use rbuild_dockerfile::Diagnostic;
use rbuild_dockerfile::render::Color;
use rbuild_lower::{Answer, LowerError, MainContext, Request, Subrequest, answer, lower, read};

/// Waits for what never waits.
pub(crate) fn done<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the table's host never waits"),
    }
}

pub(crate) fn host(request: &Request) -> Host {
    host_ignoring(match &request.context {
        MainContext::Local { exclude, .. } => exclude.clone(),
        _ => Vec::new(),
    })
}

/// Reads and lowers; returns warnings and errors.
pub(crate) fn diagnostics(text: &str, request: &Request) -> Vec<Diagnostic> {
    let build = async { lower(&read(text, request)?, text, request, &host(request)).await };
    match done(build) {
        Ok(lowered) => lowered.warnings,
        Err(error) => error.diagnostics,
    }
}

pub(crate) fn ask(asked: Subrequest, text: &str, request: &Request) -> Result<Answer, LowerError> {
    done(answer(asked, text, request, &host(request), Color::Never))
}
