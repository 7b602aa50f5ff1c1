//! A reader of JSON (RFC 8259) that shares no code with any other one here, and that
//! keeps members which are there twice.

/// As deep may values lie within one another: as deep as `serde_json` goes.
const MAX_DEPTH: usize = 127;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one value and nothing else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: std::str::from_utf8(bytes).ok()? };
        let value = reader.value(MAX_DEPTH)?;
        reader.skip();
        reader.rest.is_empty().then_some(value)
    }

    pub(crate) fn members(&self) -> &[(String, Json)] {
        if let Self::Object(members) = self { members } else { &[] }
    }

    /// The last member of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        self.members().iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// What lies within it.
    fn children(&self) -> Vec<&Json> {
        match self {
            Self::List(list) => list.iter().collect(),
            Self::Object(members) => members.iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether an object repeats a member, at any level.
    pub(crate) fn repeats(&self) -> bool {
        let members = self.members();
        let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).any(|two| two[0] == two[1])
            || self.children().iter().any(|it| it.repeats())
    }

    /// How many levels there are.
    pub(crate) fn depth(&self) -> usize {
        let is_deep = matches!(self, Self::List(_) | Self::Object(_));
        usize::from(is_deep) + self.children().iter().map(|it| it.depth()).max().unwrap_or(0)
    }

    /// Whether a number is too large for a double, at any level.
    pub(crate) fn overflows(&self) -> bool {
        let is_too_large = |number: &str| number.parse::<f64>().is_ok_and(f64::is_infinite);
        matches!(self, Self::Number(number) if is_too_large(number))
            || self.children().iter().any(|it| it.overflows())
    }

    /// Whether the value of another reader is this one.
    pub(crate) fn is(&self, other: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(own), Value::Bool(other)) => own == other,
            (Self::Text(own), Value::String(other)) => own == other,
            (Self::Number(own), Value::Number(other)) => is_number(own, other),
            (Self::List(own), Value::Array(others)) => {
                own.len() == others.len() && own.iter().zip(others).all(|(own, it)| own.is(it))
            }
            (Self::Object(own), Value::Object(others)) => {
                own.len() == others.len()
                    && own.iter().all(|(name, own)| others.get(name).is_some_and(|it| own.is(it)))
            }
            _ => false,
        }
    }
}

/// Whether a number that is written so is that one: whole ones to the last digit.
fn is_number(own: &str, other: &serde_json::Number) -> bool {
    if let Ok(whole) = own.parse::<u64>() {
        return other.as_u64() == Some(whole);
    }
    if let Ok(whole) = own.parse::<i64>() {
        // Minus zero is none.
        return other.as_i64() == Some(whole) || (whole == 0 && other.as_f64() == Some(0.0));
    }
    own.parse::<f64>().ok() == other.as_f64()
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn take(&mut self, what: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.skip();
        match self.rest.chars().next()? {
            'n' => self.take("null").map(|()| Json::Null),
            't' => self.take("true").map(|()| Json::Bool(true)),
            'f' => self.take("false").map(|()| Json::Bool(false)),
            '"' => self.text().map(Json::Text),
            '[' => self.list(depth.checked_sub(1)?),
            '{' => self.object(depth.checked_sub(1)?),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.take("[")?;
        self.skip();
        let mut list = Vec::new();
        if self.take("]").is_some() {
            return Some(Json::List(list));
        }
        loop {
            list.push(self.value(depth)?);
            self.skip();
            match self.next()? {
                ',' => {}
                ']' => return Some(Json::List(list)),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.take("{")?;
        self.skip();
        let mut members = Vec::new();
        if self.take("}").is_some() {
            return Some(Json::Object(members));
        }
        loop {
            self.skip();
            let name = self.text()?;
            self.skip();
            self.take(":")?;
            members.push((name, self.value(depth)?));
            self.skip();
            match self.next()? {
                ',' => {}
                '}' => return Some(Json::Object(members)),
                _ => return None,
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escaped()?),
                '\0'..' ' => return None,
                plain => text.push(plain),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                self.take("\\u")?;
                let second = self.unit()?.checked_sub(0xdc00).filter(|it| *it < 0x400)?;
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)?
            }
            same @ ('"' | '\\' | '/') => same,
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        self.rest = &self.rest[4..];
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    fn digits(&mut self) -> &str {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    fn number(&mut self) -> Option<Json> {
        let all = self.rest;
        let _ = self.take("-");
        let whole = self.digits();
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        if self.take(".").is_some() && self.digits().is_empty() {
            return None;
        }
        if self.rest.starts_with(['e', 'E']) {
            self.next();
            if self.rest.starts_with(['+', '-']) {
                self.next();
            }
            if self.digits().is_empty() {
                return None;
            }
        }
        Some(Json::Number(all[..all.len() - self.rest.len()].to_owned()))
    }
}
