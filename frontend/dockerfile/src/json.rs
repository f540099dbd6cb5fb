//! Just enough JSON: arrays of strings (the exec form), and one member of an object.
//!
//! Reading is iterative; containers inside the outer one are only checked, so that deep nesting costs a bit a
//! level. What Go's decoder takes is taken: half surrogates become U+FFFD.

/// How deep containers nest; deeper text is not JSON.
const MAX_DEPTH: usize = 10_000;

/// What an array in the arguments of an instruction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Array {
    /// Not JSON at all: the text is taken in the shell form.
    Not,
    /// JSON, but not all elements are strings.
    Mixed,
    /// Strings.
    Strings(Vec<String>),
}

/// Reads `text`, blanks before it skipped, as an array of strings.
pub(crate) fn array(text: &str) -> Array {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Array::Not;
    }
    let Some(elements) = Reader::new(text).document() else { return Array::Not };
    let strings: Option<Vec<String>> = elements.into_iter().map(|(_, value)| value).collect();
    strings.map_or(Array::Mixed, Array::Strings)
}

/// Reads `text` as an object and returns its string `member`.
pub(crate) fn object_string(text: &str, member: &str) -> Option<String> {
    let mut reader = Reader::new(text);
    reader.blanks();
    if reader.peek() != Some(b'{') {
        return None;
    }
    let members = reader.document()?;
    members.into_iter().rev().find(|(key, _)| key.as_deref() == Some(member)).and_then(|(_, value)| value)
}

/// An element of the outer container: its key in an object, its value if that is a string.
type Element = (Option<String>, Option<String>);

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads one container that is the whole text.
    fn document(mut self) -> Option<Vec<Element>> {
        let mut elements = Vec::new();
        // One entry for each open container: whether it is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            let mut key = None;
            if open.last() == Some(&true) {
                self.blanks();
                let member = self.string()?;
                if !self.take(b':') {
                    return None;
                }
                key = Some(member).filter(|_| open.len() == 1);
            }
            self.blanks();
            let outer = open.len() == 1;
            match self.peek()? {
                bracket @ (b'[' | b'{') => {
                    self.at += 1;
                    if outer {
                        elements.push((key, None));
                    }
                    let object = bracket == b'{';
                    open.push(object);
                    if open.len() > MAX_DEPTH {
                        return None;
                    }
                    if !self.take(if object { b'}' } else { b']' }) {
                        continue;
                    }
                    open.pop();
                }
                b'"' => {
                    let value = self.string()?;
                    if outer {
                        elements.push((key, Some(value)));
                    }
                }
                _ => {
                    self.scalar()?;
                    if outer {
                        elements.push((key, None));
                    }
                }
            }
            self.close(&mut open)?;
            if open.is_empty() {
                self.blanks();
                return (self.at == self.text.len()).then_some(elements);
            }
        }
    }

    /// Closes the containers that end here; behind that comes a comma, or nothing is open.
    fn close(&mut self, open: &mut Vec<bool>) -> Option<()> {
        while let Some(object) = open.last() {
            if self.take(b',') {
                return Some(());
            }
            if !self.take(if *object { b'}' } else { b']' }) {
                return None;
            }
            open.pop();
        }
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).unwrap_or(rest.len());
        self.at += end;
        (matches!(&rest[..end], "true" | "false" | "null") || is_number(&rest[..end])).then_some(())
    }

    fn string(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return None;
        }
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            out.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Some(out),
                b'\\' => out.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let back = self.at;
                if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    let second = self.hex()?;
                    if (0xdc00..0xe000).contains(&second) {
                        return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
                    }
                    self.at = back;
                }
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits =
            self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

/// Tells whether `text` is a JSON number.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text.starts_with('0')) {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    match rest.strip_prefix(['e', 'E']) {
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        None => rest.is_empty(),
    }
}
