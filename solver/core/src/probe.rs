//! All caching policy, as one pure function: what to ask next about an edge.
//!
//! The costs that order the rules, cheapest first: a key known from the definition; the keys an input
//! has once *its* inputs' contents were looked at; an input's content, for which the input's value must
//! be there; values of all inputs; the operation's run.

/// What is wanted of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// Its keys, as far as they follow from definitions.
    FastKeys,
    /// Its keys, even if contents of inputs must be looked at, short of running the operation.
    SlowKeys,
    /// Its value.
    Value,
}

/// What is known of an edge at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeView {
    /// What is wanted.
    pub goal: Goal,
    /// Whether the cache is not to be asked.
    pub ignore_cache: bool,
    /// What is known of each input.
    pub inputs: Vec<InputView>,
    /// What the cache has for the keys known so far.
    pub found: Found,
}

/// What is known of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputView {
    /// What was asked of it.
    pub level: Level,
    /// Whether any of its known keys leads to some output of the operation.
    pub matched: bool,
    /// Its content key.
    pub content: Content,
}

/// What was asked of an input, each including those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Nothing,
    /// Its fast keys.
    FastKeys,
    /// Its slow keys.
    SlowKeys,
    /// Its value, and with it all keys it will ever have.
    Value,
}

/// The state of an input's content key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// There is none.
    Absent,
    /// It can be asked for.
    Unknown,
    /// It is among the known keys.
    Known,
}

/// What the cache has for an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A key, with no record (that could be loaded).
    Key,
    /// A record.
    Record,
}

/// What to ask next; questions to several inputs are asked at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The fast keys of these inputs.
    FastKeys(Vec<usize>),
    /// The slow keys of these inputs.
    SlowKeys(Vec<usize>),
    /// The content keys of these inputs.
    ContentKeys(Vec<usize>),
    /// The values of these inputs.
    Values(Vec<usize>),
    /// The recorded result.
    Load,
    /// The operation's run.
    Run,
    /// Nothing: the goal is reached, or cannot be reached by asking.
    Done,
}

/// Decides what to ask next about an edge.
pub fn next_probe(view: &EdgeView) -> Probe {
    if view.ignore_cache {
        return match view.goal {
            Goal::Value => work(view),
            Goal::FastKeys | Goal::SlowKeys => Probe::Done,
        };
    }
    let unasked = view.inputs_where(|input| input.level == Level::Nothing);
    if !unasked.is_empty() {
        return Probe::FastKeys(unasked);
    }
    match (view.goal, view.found) {
        (Goal::Value, Found::Record) => Probe::Load,
        // What is missing is the result, not the key: looking at contents would find nothing else.
        (Goal::Value, Found::Key) => work(view),
        (Goal::Value, Found::Nothing) => search(view).unwrap_or_else(|| work(view)),
        (Goal::SlowKeys, Found::Nothing) => search(view).unwrap_or(Probe::Done),
        (Goal::SlowKeys | Goal::FastKeys, _) => Probe::Done,
    }
}

/// What may still find a key, if anything may.
fn search(view: &EdgeView) -> Option<Probe> {
    // Whoever needs our value will need these inputs' values if this finds nothing, and that would
    // begin with the same question: so it is never asked in vain.
    let fast_only = view.inputs_where(|input| input.level == Level::FastKeys);
    if !fast_only.is_empty() {
        return Some(Probe::SlowKeys(fast_only));
    }
    // An input that leads nowhere and has no content to look at: no hit is possible, whatever
    // the others contain. Their values are then better computed all at once.
    if view.inputs.iter().any(|input| !input.matched && input.content != Content::Unknown) {
        return None;
    }
    let unmatched = view.inputs_where(|input| !input.matched);
    let unknown = view.inputs_where(|input| input.content == Content::Unknown);
    [unmatched, unknown].into_iter().find(|inputs| !inputs.is_empty()).map(Probe::ContentKeys)
}

/// What must still be there before the operation can run. Content keys, though too late for
/// finding anything cheaply, are the links by which the next build finds the result.
fn work(view: &EdgeView) -> Probe {
    let valueless = view.inputs_where(|input| input.level != Level::Value);
    if !valueless.is_empty() {
        return Probe::Values(valueless);
    }
    let unknown = view.inputs_where(|input| input.content == Content::Unknown);
    if !unknown.is_empty() {
        return Probe::ContentKeys(unknown);
    }
    Probe::Run
}

impl EdgeView {
    fn inputs_where(&self, holds: impl Fn(&InputView) -> bool) -> Vec<usize> {
        let indexed = self.inputs.iter().enumerate();
        indexed.filter(|(_, input)| holds(input)).map(|(index, _)| index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `goal found input…`, an input being level (`-fsv`), match (`.m`), content (`-?k`).
    fn view(text: &str) -> EdgeView {
        let mut words = text.split(' ');
        let goal = match words.next() {
            Some("fast") => Goal::FastKeys,
            Some("slow") => Goal::SlowKeys,
            Some("value" | "ignore") => Goal::Value,
            other => panic!("goal {other:?}"),
        };
        let found = match words.next() {
            Some("nothing") => Found::Nothing,
            Some("key") => Found::Key,
            Some("record") => Found::Record,
            other => panic!("found {other:?}"),
        };
        EdgeView { goal, ignore_cache: text.starts_with("ignore"), found, inputs: words.map(input).collect() }
    }

    fn input(word: &str) -> InputView {
        let letters: Vec<char> = word.chars().collect();
        let level = match letters[0] {
            '-' => Level::Nothing,
            'f' => Level::FastKeys,
            's' => Level::SlowKeys,
            'v' => Level::Value,
            other => panic!("level {other}"),
        };
        let content = match letters[2] {
            '-' => Content::Absent,
            '?' => Content::Unknown,
            'k' => Content::Known,
            other => panic!("content {other}"),
        };
        InputView { level, matched: letters[1] == 'm', content }
    }

    fn check(text: &str, expected: Probe) {
        assert_eq!(next_probe(&view(text)), expected, "{text}");
    }

    #[test]
    fn policy() {
        use Probe::*;
        // Sources know all there is to know.
        check("fast key", Done);
        check("slow key", Done);
        check("value key", Run);
        check("value record", Load);
        check("value nothing", Run);
        // Definitions first, of all inputs at once.
        check("fast nothing -.- -.?", FastKeys(vec![0, 1]));
        check("value nothing -.- fm?", FastKeys(vec![0]));
        check("fast nothing f.- f.?", Done);
        // A hit stops everything; a key is enough for whoever asks for keys.
        check("value record fm- f.?", Load);
        check("slow key fm- f.?", Done);
        // A fast miss asks what the inputs know by content, of all at once, before any value.
        check("slow nothing fm- f.?", SlowKeys(vec![0, 1]));
        check("value nothing fm- s.?", SlowKeys(vec![0]));
        // The content that can decide is looked at alone.
        check("slow nothing sm- s.?", ContentKeys(vec![1]));
        check("value nothing sm? s.?", ContentKeys(vec![1]));
        check("value nothing sm? smk", ContentKeys(vec![0]));
        check("value nothing sm? sm?", ContentKeys(vec![0, 1]));
        // Nothing is pulled for a hit that cannot be.
        check("slow nothing s.- s.?", Done);
        check("slow nothing s.k sm?", Done);
        check("value nothing s.- s.?", Values(vec![0, 1]));
        check("value nothing s.k sm?", Values(vec![0, 1]));
        // Each alone is known, together they never were.
        check("slow nothing sm- smk", Done);
        check("value nothing sm- vmk", Values(vec![0]));
        // A key whose record is gone.
        check("value key fm- fm?", Values(vec![0, 1]));
        check("value key vm- vm?", ContentKeys(vec![1]));
        check("value key vm- vmk", Run);
        // Before the run, contents are learnt for the links.
        check("value nothing v.- vm?", ContentKeys(vec![1]));
        check("value nothing v.- vmk", Run);
        // A hit found late still saves the run.
        check("value record v.- vmk", Load);
        // Without the cache nothing is asked of it.
        check("ignore nothing -.- -.?", Values(vec![0, 1]));
        check("ignore nothing v.- v.?", ContentKeys(vec![1]));
        check("ignore record vm- vmk", Run);
    }

    /// Every view leads to an end in few steps, however the questions are answered.
    #[test]
    fn always_ends() {
        let levels = [Level::Nothing, Level::FastKeys, Level::SlowKeys, Level::Value];
        let contents = [Content::Absent, Content::Unknown, Content::Known];
        for goal in [Goal::FastKeys, Goal::SlowKeys, Goal::Value] {
            for ignore_cache in [false, true] {
                for (level, content, matched) in
                    levels.iter().flat_map(|l| contents.iter().flat_map(move |c| [(l, c, true), (l, c, false)]))
                {
                    let inputs = vec![
                        InputView { level: *level, matched, content: *content },
                        InputView { level: Level::Nothing, matched: !matched, content: Content::Unknown },
                    ];
                    assert_ends(EdgeView { goal, ignore_cache, inputs, found: Found::Nothing });
                }
            }
        }
    }

    fn assert_ends(mut view: EdgeView) {
        for _ in 0..12 {
            match next_probe(&view) {
                Probe::FastKeys(inputs) => raise(&mut view, &inputs, Level::FastKeys),
                Probe::SlowKeys(inputs) => raise(&mut view, &inputs, Level::SlowKeys),
                Probe::Values(inputs) => raise(&mut view, &inputs, Level::Value),
                Probe::ContentKeys(inputs) => {
                    raise(&mut view, &inputs, Level::Value);
                    inputs.iter().for_each(|index| view.inputs[*index].content = Content::Known);
                }
                Probe::Load | Probe::Run | Probe::Done => return,
            }
        }
        panic!("no end: {view:?}");
    }

    fn raise(view: &mut EdgeView, inputs: &[usize], level: Level) {
        assert!(!inputs.is_empty());
        for index in inputs {
            assert!(view.inputs[*index].level <= level);
            view.inputs[*index].level = level.max(view.inputs[*index].level);
        }
    }
}
