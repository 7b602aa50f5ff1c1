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

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Option<Vec<(u32, String)>> {
        let mut all = Vec::new();
        each(message, |number, content| {
            let shown = match content {
                Content::Varint(value) => value.to_string(),
                Content::Bytes(bytes) => format!("{bytes:?}"),
                Content::Fixed64 => "64 bits".into(),
                Content::Fixed32 => "32 bits".into(),
            };
            all.push((number, shown));
            Some(())
        })?;
        Some(all)
    }

    #[test]
    fn fields_of_every_type_are_read_whole_or_not_at_all() {
        let message = [&[0x08, 5, 0x12, 1, 7, 0x19][..], &[0; 8], &[0x25], &[0; 4]].concat();
        let all = [(1, "5"), (2, "[7]"), (3, "64 bits"), (4, "32 bits")];
        assert_eq!(fields(&message), Some(all.map(|(at, shown)| (at, shown.to_owned())).to_vec()));
        for end in 1..message.len() {
            assert_eq!(fields(&message[..end]).is_some(), [2, 5, 14].contains(&end), "{end}");
        }
        // Groups, types that there are not, and a field of no number.
        for bad in [&[0x0b][..], &[0x0c], &[0x0e], &[0x0f], &[0x00, 1], &[0x02, 0]] {
            assert_eq!(fields(bad), None, "{bad:?}");
        }
        assert_eq!(each(&message, |number, _| (number != 3).then_some(())), None);
    }

    #[test]
    fn a_number_has_64_bits_and_a_key_32() {
        let value = |bytes: &[u8]| {
            let read = fields(&[&[0x08], bytes].concat())?;
            read.into_iter().next().map(|(_, shown)| shown)
        };
        assert_eq!(value(&[0x7f]).as_deref(), Some("127"));
        assert_eq!(value(&[0x80, 0x01]).as_deref(), Some("128"));
        assert_eq!(value(&[0xac, 0x02]).as_deref(), Some("300"));
        let with_last = |last: &[u8]| value(&[&[0xff; 9], last].concat());
        assert_eq!(with_last(&[0x01]), Some(u64::MAX.to_string()));
        assert_eq!(with_last(&[0x00]), Some((u64::MAX >> 1).to_string()));
        assert_eq!((with_last(&[0x02]), with_last(&[0x81, 0x00])), (None, None));
        assert_eq!((value(&[0x80]), value(&[])), (None, None));
        let key = [0xf8, 0xff, 0xff, 0xff, 0x0f, 1];
        assert_eq!(fields(&key), Some(vec![((1 << 29) - 1, "1".into())]));
        assert_eq!(fields(&[0xf8, 0xff, 0xff, 0xff, 0x1f, 1]), None);
    }

    #[test]
    fn what_is_there_twice_or_no_text_is_not_taken() {
        let mut slot = None;
        assert_eq!(once(&mut slot, Content::Varint(1)), None);
        assert_eq!(once(&mut slot, Content::Bytes(b"a")), Some(()));
        assert_eq!((once(&mut slot, Content::Bytes(b"b")), slot), (None, Some(&b"a"[..])));
        let (mut text, mut bytes) = ("", &[][..]);
        for (good, content) in [(true, "é".as_bytes()), (false, b"\xff"), (true, b"b")] {
            assert_eq!(put(&mut text, Content::Bytes(content)).is_some(), good);
            assert_eq!(put_bytes(&mut bytes, Content::Bytes(content)).is_some(), good);
        }
        assert_eq!((text, bytes), ("b", &b"b"[..]));
        assert_eq!(
            put(&mut text, Content::Fixed32).or(put_bytes(&mut bytes, Content::Fixed64)),
            None
        );
    }
}
