//! being written
use crate::{Ast, Diagnostic, Dockerfile, Place, Statement};
/// Reads the instructions of `ast`. Never fails: what could not be read is left out and told in the diagnostics.
/// Lint warnings are not among them, see [`Linter`](crate::Linter).
pub fn interpret(_ast: &Ast<'_>) -> (Dockerfile, Vec<Diagnostic>) {
    unreachable!("being written")
}
/// Reads one instruction, such as an `ONBUILD` trigger of an image; all its spans and lines become `place` (the
/// `FROM` that brought it). `FROM` itself is refused.
pub fn parse_instruction(_text: &str, _place: Place) -> Result<Statement, Vec<Diagnostic>> {
    unreachable!("being written")
}
