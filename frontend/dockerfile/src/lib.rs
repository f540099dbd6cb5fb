//! The Dockerfile language: text to syntax tree to typed instructions; pure, without IO.
//!
//! ```text
//! bytes ─decode▶ &str ─parse▶ Ast ─interpret▶ Dockerfile ─(lower: scopes known)▶ Lexer::word, MountFlag::resolve
//!                      ╰ diagnostics ╰ diagnostics                    ╰ Linter
//! ```
//!
//! [`parse`] and [`interpret`] never fail: they give what they understood and say what they did not as
//! [`Diagnostic`]s. A Dockerfile with an error among them must not be built ([`first_error`]). Words that may
//! hold variables stay [`Template`]s, because what variables mean is known only to whoever walks the stages.
//!
//! This crate knows nothing of build contexts, images, platforms or graphs.

mod arguments;
pub mod ast;
pub mod csv;
mod decode;
pub mod diagnostic;
pub mod directive;
pub mod expand;
mod flags;
mod heredoc;
pub mod instruction;
mod interpret;
mod json;
mod keyword;
pub mod lint;
pub mod literal;
mod parse;
mod problem;
pub mod render;
mod request;
pub mod source;
mod stage;
mod suggest;
mod words;

pub use ast::Ast;
pub use decode::decode;
pub use diagnostic::{Diagnostic, Phase, Severity, first_error};
pub use directive::{Directive, DirectiveName, detect_syntax, find_directive};
pub use expand::{Environment, ExpandError, Expansion, Lexer};
pub use instruction::{Instruction, Statement};
pub use interpret::{interpret, parse_instruction};
pub use keyword::Keyword;
pub use lint::{CheckOptions, Linter, Rule};
pub use parse::{MAX_FILE, MAX_INSTRUCTIONS, MAX_LINE, parse};
pub use source::{LineIndex, Lines, Place, Span, Template};
pub use stage::{Dockerfile, MetaArg, Stage};
pub use suggest::nearest;
