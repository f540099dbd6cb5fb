//! being written
use super::*;
pub(super) fn word<E: Environment + ?Sized>(_l: &Lexer, _word: &str, _e: &E) -> Result<Expansion, ExpandError> {
    unreachable!("being written")
}
pub(super) fn words<E: Environment + ?Sized>(_l: &Lexer, _word: &str, _e: &E) -> Result<WordsExpansion, ExpandError> {
    unreachable!("being written")
}
