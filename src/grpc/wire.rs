//! The wire format of protocol buffers, as far as messages are made of it that are out of
//! no common: whoever reads leaves everything else to the generated types.

/// Fields of a message, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

/// The content of a field.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed64,
    Fixed32,
}

impl<'a> Fields<'a> {
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        // Nearly always one byte.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Some(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the last bit of 64.
            if at == 9 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = self.rest.get(at + 1..)?;
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next field: its number and its content. `None` for one that is not
    /// taken here.
    fn next(&mut self) -> Option<(u32, Content<'a>)> {
        let key = u32::try_from(self.varint()?).ok()?;
        let number = key >> 3;
        let content = match key & 7 {
            0 => self.varint().map(Content::Varint),
            1 => self.take(8).map(|_| Content::Fixed64),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length).map(Content::Bytes)
            }
            5 => self.take(4).map(|_| Content::Fixed32),
            _ => None,
        };
        Some((number, content?)).filter(|(number, _)| *number != 0)
    }
}

/// Text, where it is that.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Calls `field` with each field; `None` as soon as one is not taken.
pub(super) fn each<'a>(
    message: &'a [u8],
    mut field: impl FnMut(u32, Content<'a>) -> Option<()>,
) -> Option<()> {
    let mut fields = Fields { rest: message };
    while !fields.rest.is_empty() {
        let (number, content) = fields.next()?;
        field(number, content)?;
    }
    Some(())
}

/// The one message of a field, which is not there yet.
pub(super) fn once<'a>(slot: &mut Option<&'a [u8]>, content: Content<'a>) -> Option<()> {
    match content {
        Content::Bytes(bytes) if slot.is_none() => {
            *slot = Some(bytes);
            Some(())
        }
        _ => None,
    }
}

/// Puts text where it belongs; the last one counts, as everywhere.
pub(super) fn put<'a>(slot: &mut &'a str, content: Content<'a>) -> Option<()> {
    let Content::Bytes(bytes) = content else { return None };
    *slot = text(bytes)?;
    Some(())
}

/// The same, as bytes that are text.
pub(super) fn put_bytes<'a>(slot: &mut &'a [u8], content: Content<'a>) -> Option<()> {
    let Content::Bytes(bytes) = content else { return None };
    // Much faster told than that it is UTF-8.
    (bytes.is_ascii() || text(bytes).is_some()).then(|| *slot = bytes)
}
