//! Which questions there are.

use serde::Serialize;

use super::table::table;
use super::{Answer, Subrequest, json};

#[derive(Serialize)]
struct Described {
    name: &'static str,
    version: &'static str,
    r#type: &'static str,
    description: &'static str,
    opts: Vec<Named>,
    inputs: [Named; 0],
    metadata: Vec<Named>,
    refs: [Named; 0],
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
    description: &'static str,
}

pub(super) fn answer() -> Answer {
    let all = Subrequest::ALL.map(described);
    let rows = all.iter().map(|one| [one.name.trim_start_matches("frontend."), one.version, one.description]);
    let text = table(&std::iter::once(["NAME", "VERSION", "DESCRIPTION"]).chain(rows).collect::<Vec<_>>(), 1);
    Answer { json: json(&all), text, version: "1.0.0", findings: None }
}

fn described(asked: Subrequest) -> Described {
    let named = |name| Named { name, description: "" };
    let mut metadata = vec![named("result.json"), named("result.txt")];
    if asked == Subrequest::Lint {
        metadata.push(named("result.statuscode"));
    }
    let (description, opts) = match asked {
        Subrequest::Lint => ("Check a Dockerfile against the lint rules", Vec::new()),
        Subrequest::Outline => {
            let target = Named { name: "target", description: "The stage to ask about" };
            ("List what the target takes from outside", vec![target])
        }
        Subrequest::Targets => ("List the targets of a Dockerfile", Vec::new()),
        Subrequest::Describe => ("List the questions that can be asked", Vec::new()),
    };
    let (inputs, refs) = ([], []);
    Described { name: asked.name(), version: "1.0.0", r#type: "rpc", description, opts, inputs, metadata, refs }
}
