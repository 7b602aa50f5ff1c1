//! Reads the text form of protocol buffers, as far as cel-spec's tests use it.

/// A field's value.
#[derive(Clone, Debug)]
pub(super) enum Field {
    /// Text, a number or a name; as bytes, since a text may be any.
    Scalar(Vec<u8>),
    Message(Message),
}

/// Fields, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(pub(super) Vec<(String, Field)>);

impl Message {
    pub(super) fn all<'m>(&'m self, name: &str) -> impl Iterator<Item = &'m Message> {
        self.0.iter().filter(move |(own, _)| own == name).filter_map(|(_, field)| match field {
            Field::Message(message) => Some(message),
            Field::Scalar(_) => None,
        })
    }

    pub(super) fn one(&self, name: &str) -> Option<&Message> {
        self.all(name).next()
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().filter(|(own, _)| own == name).find_map(|(_, field)| match field {
            Field::Scalar(bytes) => Some(bytes.as_slice()),
            Field::Message(_) => None,
        })
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.bytes(name).map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    pub(super) fn parse(text: &str) -> Self {
        Reader { rest: text }.fields()
    }
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([',', ';']).trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn take(&mut self, what: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn fields(&mut self) -> Message {
        let mut fields = Vec::new();
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with(['}', '>']) {
                return Message(fields);
            }
            let name = if self.take('[') {
                let (name, rest) = self.rest.split_once(']').unwrap();
                self.rest = rest;
                name.trim().to_owned()
            } else {
                self.word()
            };
            self.take(':');
            if self.take('[') {
                while !self.take(']') {
                    fields.push((name.clone(), self.value()));
                }
            } else {
                fields.push((name, self.value()));
            }
        }
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || "_.-+".contains(c)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        assert!(!word.is_empty(), "a name is missing: {}", self.rest);
        self.rest = rest;
        word.to_owned()
    }

    fn value(&mut self) -> Field {
        if self.take('{') {
            let message = self.fields();
            assert!(self.take('}'));
            return Field::Message(message);
        }
        self.skip();
        if !self.rest.starts_with(['"', '\'']) {
            return Field::Scalar(self.word().into_bytes());
        }
        let mut bytes = Vec::new();
        while self.rest.starts_with(['"', '\'']) {
            self.quoted(&mut bytes);
            self.skip();
        }
        Field::Scalar(bytes)
    }

    fn quoted(&mut self, into: &mut Vec<u8>) {
        let mut chars = self.rest.chars();
        let quote = chars.next().unwrap();
        loop {
            match chars.next().unwrap() {
                c if c == quote => break,
                '\\' => {
                    let number = |chars: &mut std::str::Chars<'_>, start: String, most, radix| {
                        let mut digits = start;
                        while digits.len() < most
                            && chars.clone().next().is_some_and(|c| c.is_digit(radix))
                        {
                            digits.push(chars.next().unwrap());
                        }
                        u32::from_str_radix(&digits, radix).unwrap()
                    };
                    match chars.next().unwrap() {
                        'n' => into.push(b'\n'),
                        'r' => into.push(b'\r'),
                        't' => into.push(b'\t'),
                        'a' => into.push(7),
                        'b' => into.push(8),
                        'f' => into.push(12),
                        'v' => into.push(11),
                        'x' | 'X' => {
                            into.push(
                                u8::try_from(number(&mut chars, String::new(), 2, 16)).unwrap(),
                            );
                        }
                        long @ ('u' | 'U') => {
                            let most = if long == 'u' { 4 } else { 8 };
                            let code = number(&mut chars, String::new(), most, 16);
                            let c = char::from_u32(code).unwrap();
                            into.extend(c.to_string().as_bytes());
                        }
                        c if c.is_digit(8) => {
                            into.push(
                                u8::try_from(number(&mut chars, c.to_string(), 3, 8)).unwrap(),
                            );
                        }
                        c => into.extend(c.to_string().as_bytes()),
                    }
                }
                c => into.extend(c.to_string().as_bytes()),
            }
        }
        self.rest = chars.as_str();
    }
}
