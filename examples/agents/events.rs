//! Server-sent events, as bytes arrive (HTML Living Standard, section 9.2.6,
//! "Interpreting an event stream").

/// The most of one event, and of one line, in bytes.
pub(crate) const MAX_EVENT_BYTES: usize = 64 * 1024;

/// An event or a line is longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What has arrived of an event stream, and is no whole event yet.
///
/// Of an event's fields only `data` is kept: nothing else is of use here.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    /// A line feed after a carriage return ends no second line.
    after_return: bool,
    /// A byte order mark may stand before the first line.
    begun: bool,
}

impl Events {
    /// Takes what arrived next, and gives back the data of each event that is
    /// whole with it.
    ///
    /// # Errors
    ///
    /// [`TooLong`]; what comes after that has no meaning.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut whole = Vec::new();
        for byte in bytes {
            let is_rest_of_end = *byte == b'\n' && self.after_return;
            self.after_return = *byte == b'\r';
            match byte {
                b'\n' if is_rest_of_end => {}
                b'\n' | b'\r' => whole.extend(self.end_line()?),
                byte if self.line.len() < MAX_EVENT_BYTES => self.line.push(*byte),
                _ => return Err(TooLong),
            }
        }
        Ok(whole)
    }

    /// The data of the event that this line ends, if it ends one.
    fn end_line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(self.data.take());
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        // A comment is a field without a name.
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        if name == b"data" {
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let data = match self.data.take() {
                Some(before) => [&before, &b"\n"[..], value].concat(),
                None => value.to_vec(),
            };
            if data.len() > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
            self.data = Some(data);
        }
        Ok(None)
    }
}
