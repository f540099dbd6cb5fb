//! The graph in graphviz' language.

use std::fmt::Write as _;

use super::Explanation;

impl Explanation {
    /// Writes the graph in graphviz' language: arrows lead from what is taken to what is made of it, dashed where
    /// the content counts.
    pub fn to_dot(&self) -> String {
        let mut out = String::from("digraph build {\n  rankdir=LR;\n  node [shape=box, fontname=monospace];\n");
        for (position, step) in self.steps.iter().enumerate() {
            let label = format!("{}\n{} {}", step.title(), step.kind, step.key.short());
            let style = if step.ignore_cache { ", style=bold" } else { "" };
            line(&mut out, &format!("s{} [label=\"{}\"{style}]", position + 1, escaped(&label)));
            for input in &step.inputs {
                let style = if input.by_content { " [style=dashed]" } else { "" };
                line(&mut out, &format!("s{} -> s{}{style}", input.from.step + 1, position + 1));
            }
        }
        for (position, target) in self.targets.iter().enumerate() {
            let label = escaped(&target.title());
            line(&mut out, &format!("t{} [label=\"{label}\", shape=ellipse]", position + 1));
            if let Some(result) = target.result {
                line(&mut out, &format!("s{} -> t{}", result.step + 1, position + 1));
            }
        }
        out.push_str("}\n");
        out
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "  {text};").expect("a string takes everything");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
