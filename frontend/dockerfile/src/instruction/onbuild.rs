//! `ONBUILD instruction`

use crate::arguments::Arguments;
use crate::problem::Problem;
use crate::request::Request;

/// Stores an instruction to be run by builds that use this stage or image as their base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The text after `ONBUILD`, heredocs appended; read it again with
    /// [`parse_instruction`](crate::parse_instruction).
    pub trigger: String,
}

impl Onbuild {
    pub(crate) fn read(request: &Request<'_>) -> Result<Self, Problem> {
        let Arguments::Trigger(keyword) = &request.arguments else { return Err(request.at_least_one()) };
        request.flags(&[])?;
        check_trigger(&keyword.text.to_uppercase())?;
        // The text with its flags and blanks as they are, only `ONBUILD` is taken off.
        let text = request.node.keyword.end;
        let mut trigger = request.node.text[text..].trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']).to_owned();
        for heredoc in &request.node.heredocs {
            trigger.push('\n');
            trigger.push_str(heredoc.body.slice(request.source));
            trigger.push_str(&heredoc.name);
        }
        Ok(Self { trigger })
    }
}

fn check_trigger(keyword: &str) -> Result<(), Problem> {
    match keyword {
        "ONBUILD" => Err(Problem::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "MAINTAINER" | "FROM" => Err(Problem::new(format!("{keyword} isn't allowed as an ONBUILD trigger"))),
        _ => Ok(()),
    }
}
