//! Follows the frames of a connection, of which h2 tells nothing before a block
//! of headers is whole.

/// The longest block of headers on the wire, in bytes. A gateway that compresses
/// (by five bits a byte at best) makes one of at most [`MAX_LIST_BYTES`] of it.
const MAX_BLOCK_BYTES: usize = 64 * 1024;
/// The longest list of headers that h2 reads. It answers a longer one by itself,
/// with a status that a gateway which fails open takes for consent.
///
/// [RFC 9113, section 6.5.2]: each name and value, and 32 bytes.
///
/// [RFC 9113, section 6.5.2]: https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2
pub(super) const MAX_LIST_BYTES: u32 = 128 * 1024;

/// The length of a frame's head (RFC 9113, section 4.1).
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
/// The flag of the last frame of a block.
const END_HEADERS: u8 = 4;

/// A block of headers has no end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of headers is longer than {MAX_BLOCK_BYTES} bytes")]
pub(super) struct Endless;

/// Where in its frames a connection is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// How much of the head there is.
    came: usize,
    /// How much of the payload is to come.
    left: usize,
    /// How much there is of a block that has not ended.
    block: Option<usize>,
}

impl Frames {
    /// Whether a block of headers has begun and not ended.
    pub(super) fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// Follows what comes behind the preface.
    ///
    /// # Errors
    ///
    /// [`Endless`].
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Endless> {
        loop {
            let payload = self.left.min(bytes.len());
            self.left -= payload;
            bytes = bytes.get(payload..).unwrap_or_default();
            if self.came == 0
                && let Some((head, rest)) = bytes.split_first_chunk()
            {
                // Nearly always, all of it has come.
                bytes = rest;
                self.begin(*head)?;
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(()) };
            if let Some(place) = self.head.get_mut(self.came) {
                *place = *byte;
            }
            bytes = rest;
            self.came += 1;
            if self.came == HEAD_BYTES {
                self.came = 0;
                self.begin(self.head)?;
            }
        }
    }

    fn begin(&mut self, head: [u8; HEAD_BYTES]) -> Result<(), Endless> {
        let [a, b, c, kind, flags, ..] = head;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
            let block = self.block.unwrap_or_default() + self.left;
            if block > MAX_BLOCK_BYTES {
                return Err(Endless);
            }
            self.block = (flags & END_HEADERS == 0).then_some(block);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        // Bytes that would be frames if they were looked at.
        frame.resize(HEAD_BYTES + length, HEADERS);
        frame
    }

    #[test]
    fn a_block_is_followed_however_it_is_cut() {
        let mut bytes = frame(4, 0, 6);
        bytes.extend(frame(HEADERS, 0, 700));
        let in_block = bytes.len() - 700;
        bytes.extend(frame(CONTINUATION, 0, 0));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 20));
        let until = bytes.len() - 20;
        bytes.extend(frame(0, 1, 500));
        for size in [1, 2, 8, 9, 10, 100, 5000] {
            let mut frames = Frames::default();
            let mut came = 0;
            for chunk in bytes.chunks(size) {
                frames.follow(chunk).unwrap();
                came += chunk.len();
                assert_eq!(frames.is_in_block(), (in_block..until).contains(&came), "{came}");
            }
        }
    }

    #[test]
    fn a_block_has_an_end_and_the_next_begins_anew() {
        let mut frames = Frames::default();
        for _ in 0..100 {
            for _ in 0..3 {
                frames.follow(&frame(HEADERS, 0, 16_384)).unwrap();
            }
            frames.follow(&frame(CONTINUATION, END_HEADERS, 16_384)).unwrap();
            assert!(!frames.is_in_block());
        }
        for _ in 0..4 {
            frames.follow(&frame(HEADERS, 0, 16_384)).unwrap();
        }
        assert_eq!(frames.follow(&frame(CONTINUATION, END_HEADERS, 1)), Err(Endless));
    }
}
