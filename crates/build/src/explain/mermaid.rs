//! The graph as a Mermaid flow chart, which Markdown of several forges draws.

use std::fmt::Write as _;

use super::Explanation;

impl Explanation {
    /// Writes the graph as a Mermaid flow chart: arrows lead from what is taken to what is made of it, dotted
    /// where the content counts.
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        for (position, step) in self.steps.iter().enumerate() {
            let key = format!("{} {}", step.kind, step.key.short());
            line(&mut out, &format!("s{}[\"{}<br/>{key}\"]", position + 1, escaped(&step.title())));
            for input in &step.inputs {
                let arrow = if input.by_content { "-.->" } else { "-->" };
                line(&mut out, &format!("s{} {arrow} s{}", input.from.step + 1, position + 1));
            }
        }
        for (position, target) in self.targets.iter().enumerate() {
            line(&mut out, &format!("t{}([\"{}\"])", position + 1, escaped(&target.title())));
            if let Some(result) = target.result {
                line(&mut out, &format!("s{} --> t{}", result.step + 1, position + 1));
            }
        }
        out
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "  {text}").expect("a string takes everything");
}

/// Writes what means something to Mermaid, to its Markdown or to HTML as entities.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | ';' | '<' | '>' | '`' | '\\' | '*' | '_' | '|' | '{' | '}' | '[' | ']' => {
                write!(safe, "#{};", u32::from(c)).expect("a string takes everything");
            }
            c => safe.push(c),
        }
    }
    safe
}
