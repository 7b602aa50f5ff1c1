use proptest::prelude::*;

use super::*;

fn all_of(frames: &mut Frames) -> Vec<FromService> {
    std::iter::from_fn(|| frames.next().unwrap()).collect()
}

fn text(told: &[FromService]) -> String {
    format!("{told:?}")
}

fn some() -> Vec<FromService> {
    let token = |byte| (TokenRef::from_bytes([byte; 32]), Timestamp::from_millis(byte.into()));
    vec![
        FromService::Tokens(Tokens((0..200).map(token).collect())),
        FromService::Users(vec![("7".to_owned(), 1_000)]),
        FromService::IssuerKeys { place: [7; 32], text: "{}".to_owned(), heard: -1 },
        FromService::Whole { cut_offs_kept: u64::MAX, has_keys: true },
        FromService::Beat,
    ]
}

fn bytes_of(told: &[FromService]) -> Vec<u8> {
    told.iter().flat_map(|told| encode(told, MAX_TOLD).unwrap()).collect()
}

#[test]
fn what_is_sent_in_any_pieces_is_read() {
    let bytes = bytes_of(&some());
    for size in [1, 3, 7, 4096, bytes.len()] {
        let (mut frames, mut read) = (Frames::up_to(MAX_TOLD), Vec::new());
        for piece in bytes.chunks(size) {
            frames.push(piece);
            read.extend(all_of(&mut frames));
        }
        assert_eq!(text(&read), text(&some()), "in pieces of {size}");
    }
}

#[test]
fn a_length_that_is_too_long_is_refused_before_any_of_it_is_kept() {
    let mut frames = Frames::up_to(MAX_TOLD);
    frames.push(&(1_u32 << 30).to_be_bytes());
    frames.push(&[0; 4]);
    assert_eq!(frames.next::<FromService>().unwrap_err(), FrameError::TooLong(1 << 30));
    assert!(encode(&FromService::Users(vec![("7".repeat(200), 0)]), 100).is_none());
}

#[test]
fn a_list_of_tokens_of_another_length_is_none() {
    let mut frame = encode(&FromService::Tokens(Tokens(Vec::new())), MAX_TOLD).unwrap();
    let text = frame.split_off(HEAD);
    assert_eq!(text.last_chunk(), Some(&[0xc4, 0]), "bytes, none of them");
    let longer: Vec<u8> =
        text.get(..text.len() - 1).unwrap().iter().copied().chain([1, 0]).collect();
    assert!(rmp_serde::from_slice::<FromService>(&longer).is_err());
}

proptest! {
    #[test]
    fn a_bit_that_flips_is_seen(at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = bytes_of(&some());
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let mut frames = Frames::up_to(MAX_TOLD);
        frames.push(&bytes);
        let mut read = Vec::new();
        while let Ok(Some(told)) = frames.next::<FromService>() {
            read.push(told);
        }
        // Those before it are as they were; it and what follows is not read.
        prop_assert!(read.len() < some().len());
        let before: Vec<FromService> = some().into_iter().take(read.len()).collect();
        prop_assert_eq!(text(&read), text(&before));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut frames = Frames::up_to(MAX_ASKED);
        frames.push(&bytes);
        let _ = frames.next::<FromEngine>();
        let _ = rmp_serde::from_slice::<FromService>(&bytes);
    }
}
