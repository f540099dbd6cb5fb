//! The graph as JSON, for programs.
//!
//! ```json
//! {
//!   "dockerfile": "Dockerfile",
//!   "targets": [{ "name": "app", "platform": "linux/amd64", "result": { "vertex": "sha256:…", "output": 0 } }],
//!   "vertices": [{
//!     "digest": "sha256:…", "name": "[app 2/2] RUN make", "op": "exec", "source": null,
//!     "platform": "linux/amd64", "key": "sha256:…", "noCache": false, "lines": [2, 3],
//!     "inputs": [{ "vertex": "sha256:…", "output": 0, "by": "definition" }]
//!   }]
//! }
//! ```
//!
//! `key` is a digest, or `content`, `image` or `remote` for what is not known yet; `by` is `definition` or
//! `content`. Vertices come after their inputs. A field may be added, none changes its meaning.

use serde_json::{Value, json};

use super::{ExplainedInput, ExplainedKey, ExplainedOutput, ExplainedStep, Explanation};

impl Explanation {
    /// Writes the graph as JSON.
    pub fn to_json(&self) -> String {
        let target = |target: &super::ExplainedTarget| {
            json!({
                "name": target.name,
                "platform": target.platform.to_string(),
                "result": target.result.map(|result| self.output(result)),
            })
        };
        let document = json!({
            "dockerfile": self.dockerfile,
            "targets": self.targets.iter().map(target).collect::<Vec<_>>(),
            "vertices": self.steps.iter().map(|step| self.vertex(step)).collect::<Vec<_>>(),
        });
        format!("{document:#}\n")
    }

    fn output(&self, output: ExplainedOutput) -> Value {
        json!({ "vertex": self.steps[output.step].digest.to_string(), "output": output.output })
    }

    fn vertex(&self, step: &ExplainedStep) -> Value {
        let input = |input: &ExplainedInput| {
            let by = if input.by_content { "content" } else { "definition" };
            json!({
                "vertex": self.steps[input.from.step].digest.to_string(),
                "output": input.from.output,
                "by": by,
            })
        };
        json!({
            "digest": step.digest.to_string(),
            "name": step.name,
            "op": step.kind,
            "source": step.source,
            "platform": step.platform.as_ref().map(ToString::to_string),
            "key": match step.key {
                ExplainedKey::Known(key) => key.to_string(),
                other => other.word().to_owned(),
            },
            "noCache": step.ignore_cache,
            "lines": step.lines.map(|(first, last)| [first, last]),
            "inputs": step.inputs.iter().map(input).collect::<Vec<_>>(),
        })
    }
}
