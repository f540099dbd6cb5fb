//! Answers to questions about the Dockerfile as metadata of a result.

use std::collections::BTreeMap;

use rbuild_lower::Answer;

use crate::answered::Answered;

/// Returns an answer as clients read it.
pub(crate) fn answered(answer: Answer) -> Answered {
    let mut metadata = BTreeMap::from([
        ("result.json".to_owned(), answer.json.into_bytes()),
        ("result.txt".to_owned(), answer.text.into_bytes()),
        ("version".to_owned(), answer.version.into()),
    ]);
    if let Some(findings) = answer.findings {
        metadata.insert("result.statuscode".to_owned(), findings.status().to_string().into_bytes());
    }
    Answered { metadata, ..Answered::default() }
}
