//! All caching policy, as one pure function: what to ask next about an edge.
//!
//! The costs that order the rules, cheapest first: a key known from the definition; the keys an input
//! has once *its* inputs' contents were looked at; an input's content, for which the input's value must
//! be there; values of all inputs; the operation's run.
//!
//! Questions are asked as soon as it is certain that they are not asked in vain, not one after another:
//! stages of a build that do not depend on each other run at the same time.

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
    /// What it has answered.
    pub known: Level,
    /// What it was asked; no less than what is known.
    pub asked: Level,
    /// Whether any of its known keys leads to some output of the operation.
    pub matched: bool,
    /// Its content key.
    pub content: Content,
}

/// How far an input was asked, each level including those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not at all.
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
    /// It was asked for.
    Asked,
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

/// A question to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Its fast keys.
    FastKeys,
    /// Its slow keys.
    SlowKeys,
    /// Its content key, and with it its value.
    Content,
    /// Its value.
    Value,
}

impl Question {
    /// Returns how much is known of an input that has answered.
    pub fn level(self) -> Level {
        match self {
            Self::FastKeys => Level::FastKeys,
            Self::SlowKeys => Level::SlowKeys,
            Self::Content | Self::Value => Level::Value,
        }
    }
}

/// What to do next about an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Ask these inputs.
    Ask(Vec<(usize, Question)>),
    /// Wait for an answer to a question asked before.
    Wait,
    /// Load the recorded result.
    Load,
    /// Run the operation.
    Run,
    /// Nothing: the goal is reached, or cannot be reached by asking.
    Done,
}

/// Decides what to do next about an edge.
pub fn next_probe(view: &EdgeView) -> Probe {
    if view.ignore_cache {
        return match view.goal {
            Goal::Value => work(view),
            Goal::FastKeys | Goal::SlowKeys => Probe::Done,
        };
    }
    let fast = view.ask(Question::FastKeys, |input| input.asked == Level::Nothing);
    if let Some(probe) = fast.or_else(|| view.wait(|input| input.known == Level::Nothing)) {
        return probe;
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

/// What may still find a key; none if nothing can.
fn search(view: &EdgeView) -> Option<Probe> {
    // Not in vain: whoever needs our value will need that of these inputs if nothing is found, and
    // their values begin with the same question.
    let slow = view.ask(Question::SlowKeys, |input| input.asked == Level::FastKeys);
    if slow.is_some() {
        return slow;
    }
    // An input that leads nowhere and has no content to look at: no hit is possible, whatever the
    // others turn out to be.
    let leads_nowhere = |input: &InputView| input.known >= Level::SlowKeys && !input.matched;
    let has_no_more = |input: &InputView| matches!(input.content, Content::Absent | Content::Known);
    if view.inputs.iter().any(|input| leads_nowhere(input) && has_no_more(input)) {
        return None;
    }
    // An input that can be matched only by its content: needed for a hit as for a run.
    view.ask(Question::Content, |input| leads_nowhere(input) && input.content == Content::Unknown)
        .or_else(|| view.wait(|input| input.known < Level::SlowKeys || input.content == Content::Asked))
        // Each input leads somewhere, but not to the same.
        .or_else(|| view.ask(Question::Content, |input| input.content == Content::Unknown))
}

/// What must still be there before the operation can run. Content keys, though too late for
/// finding anything cheaply, are the links by which the next build finds the result.
fn work(view: &EdgeView) -> Probe {
    view.ask(Question::Value, |input| input.asked < Level::Value)
        .or_else(|| {
            view.ask(Question::Content, |input| input.known == Level::Value && input.content == Content::Unknown)
        })
        .or_else(|| view.wait(|input| input.known < Level::Value || input.content == Content::Asked))
        .unwrap_or(Probe::Run)
}

impl EdgeView {
    fn ask(&self, question: Question, holds: impl Fn(&InputView) -> bool) -> Option<Probe> {
        let indexed = self.inputs.iter().enumerate();
        let asked: Vec<_> = indexed.filter(|(_, input)| holds(input)).map(|(index, _)| (index, question)).collect();
        (!asked.is_empty()).then_some(Probe::Ask(asked))
    }

    fn wait(&self, holds: impl Fn(&InputView) -> bool) -> Option<Probe> {
        self.inputs.iter().any(holds).then_some(Probe::Wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `goal found input…`. An input is level (`-fsv`), match (`.m`), content (`-?k`); a
    /// level with another behind it is being asked for that one (`fs`), content `!` is being asked for.
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
        let level = |letter| match letter {
            '-' => Level::Nothing,
            'f' => Level::FastKeys,
            's' => Level::SlowKeys,
            'v' => Level::Value,
            other => panic!("level {other}"),
        };
        let [levels @ .., matched, content] = letters.as_slice() else { panic!("input {word}") };
        let content = match content {
            '-' => Content::Absent,
            '?' => Content::Unknown,
            '!' => Content::Asked,
            'k' => Content::Known,
            other => panic!("content {other}"),
        };
        let (known, asked) = (level(levels[0]), level(levels[levels.len() - 1]));
        InputView { known, asked, matched: *matched == 'm', content }
    }

    fn show(probe: &Probe) -> String {
        match probe {
            Probe::Ask(questions) => {
                let text = |(index, question): &(usize, Question)| format!("{question:?}({index})");
                questions.iter().map(text).collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(show(&next_probe(&view(text))), expected, "{text}");
    }

    #[test]
    fn sources_know_all_there_is_to_know() {
        check("fast key", "Done");
        check("slow key", "Done");
        check("value key", "Run");
        check("value record", "Load");
        check("value nothing", "Run");
    }

    #[test]
    fn definitions_come_first_of_all_inputs_at_once() {
        check("fast nothing -.- -.?", "FastKeys(0) FastKeys(1)");
        check("value nothing -.- fm?", "FastKeys(0)");
        check("value nothing -f.- fm?", "Wait");
        check("fast nothing f.- f.?", "Done");
    }

    #[test]
    fn a_hit_stops_everything() {
        check("value record fm- f.?", "Load");
        check("value record vm- fsmk", "Load");
        check("value record vmk vm!", "Load");
        // A key is enough for whoever asks for keys.
        check("slow key fm- f.?", "Done");
    }

    #[test]
    fn a_fast_miss_asks_for_what_inputs_know_by_content() {
        check("slow nothing fm- f.?", "SlowKeys(0) SlowKeys(1)");
        check("value nothing fm- s.?", "SlowKeys(0)");
        check("slow nothing fsm- fs.?", "Wait");
    }

    #[test]
    fn content_is_looked_at_where_it_can_decide() {
        check("slow nothing sm- s.?", "Content(1)");
        check("value nothing sm? s.?", "Content(1)");
        check("value nothing sm? sv.!", "Wait");
        check("value nothing sm? vmk", "Content(0)");
        check("value nothing sm? sm?", "Content(0) Content(1)");
        // It need not wait for others whose answers cannot make it needless.
        check("slow nothing fs.- s.?", "Content(1)");
        check("slow nothing fsm- s.?", "Content(1)");
        // Those that lead somewhere wait, for they may not be needed.
        check("slow nothing fs.- sm?", "Wait");
    }

    #[test]
    fn nothing_is_pulled_for_a_hit_that_cannot_be() {
        check("slow nothing s.- s.?", "Done");
        check("slow nothing s.- fs.?", "Done");
        check("slow nothing v.k sm?", "Done");
        check("value nothing s.- s.?", "Value(0) Value(1)");
        check("value nothing s.- fs.?", "Value(0) Value(1)");
        check("value nothing v.k sm?", "Value(1)");
        check("value nothing sv.- v.?", "Content(1)");
        check("value nothing sv.- sv.!", "Wait");
    }

    #[test]
    fn each_alone_is_known_but_together_they_never_were() {
        check("slow nothing sm- vmk", "Done");
        check("value nothing sm- vmk", "Value(0)");
    }

    #[test]
    fn a_key_without_a_record_runs() {
        check("value key fm- fm?", "Value(0) Value(1)");
        check("value key vm- vm?", "Content(1)");
        check("value key vm- vmk", "Run");
    }

    #[test]
    fn a_run_needs_values_and_learns_contents() {
        check("value nothing v.- vm?", "Content(1)");
        check("value nothing v.- vm!", "Wait");
        check("value nothing v.- vmk", "Run");
        check("value record v.- vmk", "Load");
    }

    #[test]
    fn the_cache_is_not_asked_when_it_is_to_be_ignored() {
        check("ignore nothing -.- -.?", "Value(0) Value(1)");
        check("ignore nothing v.- -v.?", "Wait");
        check("ignore nothing -v.- v.?", "Content(1)");
        check("ignore record vm- vmk", "Run");
    }

    /// However questions are answered, none is asked twice and there is an end.
    #[test]
    fn always_ends() {
        let inputs = ["-.-", "-m-", "-.?", "-m?"];
        for goal in ["fast", "slow", "value", "ignore"] {
            for (first, second) in inputs.iter().flat_map(|first| inputs.iter().map(move |second| (first, second))) {
                for seed in 0..32 {
                    assert_ends(view(&format!("{goal} nothing {first} {second}")), seed);
                }
            }
        }
    }

    fn assert_ends(mut view: EdgeView, mut seed: usize) {
        let mut pending: Vec<(usize, Question)> = Vec::new();
        for _ in 0..24 {
            match next_probe(&view) {
                Probe::Ask(questions) => {
                    for (index, question) in questions {
                        assert!(!pending.contains(&(index, question)), "{view:?}");
                        ask(&mut view.inputs[index], question);
                        pending.push((index, question));
                    }
                }
                Probe::Wait => {
                    assert!(!pending.is_empty(), "waits for nothing: {view:?}");
                    let (index, question) = pending.swap_remove(seed % pending.len());
                    answer(&mut view.inputs[index], question);
                    seed /= 2;
                }
                Probe::Run => {
                    assert!(view.inputs.iter().all(|input| input.known == Level::Value));
                    return;
                }
                Probe::Load | Probe::Done => return,
            }
        }
        panic!("no end: {view:?}");
    }

    fn ask(input: &mut InputView, question: Question) {
        if question == Question::Content {
            assert_eq!(input.content, Content::Unknown);
            input.content = Content::Asked;
        }
        input.asked = input.asked.max(question.level());
    }

    fn answer(input: &mut InputView, question: Question) {
        if question == Question::Content {
            input.content = Content::Known;
        }
        input.known = input.known.max(question.level());
    }
}
