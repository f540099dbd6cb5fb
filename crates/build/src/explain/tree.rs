//! The graph as a tree for a terminal.

use std::fmt::Write as _;

use super::{ExplainedInput, ExplainedKey, ExplainedOutput, ExplainedTarget, Explanation};

/// Depth from which on a tree is no more indented: a hostile graph shall not print its square.
const DEEPEST: usize = 40;

/// A vertex on its way into the tree.
struct Branch {
    from: ExplainedOutput,
    depth: usize,
    /// How it hangs on what was drawn before; none for what follows at the same depth.
    fork: Option<&'static str>,
    by_content: bool,
}

impl Explanation {
    /// Draws the graph from each result down. What a step stands upon, its first input, follows at the same depth;
    /// what else it takes branches off before. A step is drawn once, and later only referred to. Lines are cut to
    /// `columns`, if that is given.
    pub fn to_tree(&self, columns: Option<usize>) -> String {
        let mut drawing = Drawing { explanation: self, drawn: vec![false; self.steps.len()], lines: Vec::new() };
        for target in &self.targets {
            drawing.target(target);
        }
        drawing.legend();
        let mut text = String::new();
        for line in drawing.lines {
            text.push_str(&cut(line.trim_end(), columns));
            text.push('\n');
        }
        text
    }
}

struct Drawing<'a> {
    explanation: &'a Explanation,
    drawn: Vec<bool>,
    lines: Vec<String>,
}

impl Drawing<'_> {
    fn target(&mut self, target: &ExplainedTarget) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.lines.push(format!("{}: {}", self.explanation.dockerfile, target.title()));
        let Some(result) = target.result else {
            self.lines.push("nothing: the result is empty".to_owned());
            return;
        };
        self.lines.push("   #  OP      KEY           STEP".to_owned());
        let mut stack = vec![Branch { from: result, depth: 0, fork: None, by_content: false }];
        while let Some(branch) = stack.pop() {
            let again = std::mem::replace(&mut self.drawn[branch.from.step], true);
            self.step(&branch, again);
            if !again {
                self.branch_off(&branch, &mut stack);
            }
        }
    }

    fn step(&mut self, branch: &Branch, again: bool) {
        let step = &self.explanation.steps[branch.from.step];
        let mut line = match again {
            false => format!("{:4}  {:6}  {:12}  ", branch.from.step + 1, step.kind, step.key.short()),
            true => format!("{:4}  {:6}  {:12}  ", branch.from.step + 1, "", ""),
        };
        let bars = branch.depth.min(DEEPEST) - usize::from(branch.fork.is_some());
        line.push_str(&"│  ".repeat(bars));
        line.push_str(branch.fork.unwrap_or_default());
        line.push_str(if branch.by_content { "~ " } else { "" });
        line.push_str(&step.title());
        if branch.from.output > 0 {
            write!(line, " (output {})", branch.from.output).expect("a string takes everything");
        }
        if again {
            line.push_str(" (above)");
        } else if step.ignore_cache {
            line.push_str(" (no cache)");
        }
        self.lines.push(line);
    }

    fn branch_off(&self, branch: &Branch, stack: &mut Vec<Branch>) {
        let inputs = &self.explanation.steps[branch.from.step].inputs;
        let Some((first, others)) = inputs.split_first() else { return };
        let hung = |input: &ExplainedInput, depth, fork| Branch {
            from: input.from,
            depth,
            fork,
            by_content: input.by_content,
        };
        stack.push(hung(first, branch.depth, None));
        stack.extend(others.iter().rev().map(|other| hung(other, branch.depth + 1, Some("├─ "))));
    }

    /// Explains the words that were used.
    fn legend(&mut self) {
        let steps = &self.explanation.steps;
        let uses = |key: ExplainedKey| steps.iter().any(|step| step.key == key);
        let by_content = steps.iter().any(|step| step.inputs.iter().any(|input| input.by_content));
        let known = steps.iter().any(|step| matches!(step.key, ExplainedKey::Known(_)));
        let words = [
            (known, "KEY is what a step asks the cache with, besides the keys of what it is made of"),
            (uses(ExplainedKey::Content), "content: the key is the digest of files, which the build reads"),
            (uses(ExplainedKey::Image), "image: the key is that of an image's layers, and nobody was asked for it"),
            (uses(ExplainedKey::Remote), "remote: the key is known once the address is asked"),
            (by_content, "~ the files taken count, not how they came to be"),
        ];
        let words = words.into_iter().filter(|(used, _)| *used).map(|(_, text)| text.to_owned());
        self.lines.extend(std::iter::once(String::new()).filter(|_| !steps.is_empty()).chain(words));
    }
}

/// Returns as much of a line as fits, with `…` if that is not all.
fn cut(line: &str, columns: Option<usize>) -> String {
    match columns {
        Some(columns) if columns > 0 && line.chars().count() > columns => {
            line.chars().take(columns - 1).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}
