//! `ONBUILD instruction`

/// Stores an instruction to be run by builds that use this stage or image as their base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The text after `ONBUILD`, heredocs appended; read it again with
    /// [`parse_instruction`](crate::parse_instruction).
    pub trigger: String,
}
