//! Who has a place, and who loses one.

use std::time::Duration;

use super::*;

fn network(nth: usize) -> Network {
    let nth = u32::try_from(nth).unwrap();
    Network::of(std::net::Ipv4Addr::from(0x0a00_0000 + nth).into())
}

fn take(places: &Arc<Places>, nth: usize, standing: Standing) -> Place {
    // Later than whoever came before.
    std::thread::sleep(Duration::from_micros(2));
    places.take(places.room_now().unwrap(), Some(network(nth)), standing)
}

fn has_lost(place: &Place) -> bool {
    place.seat.lost.is_cancelled()
}

#[test]
fn a_network_that_has_its_share_gives_up_its_own_idlest() {
    let places = Places::few(32);
    let others = take(&places, 0, Standing::Client);
    let first = take(&places, 1, Standing::Client);
    let second = take(&places, 1, Standing::Client);
    assert!(!has_lost(&first), "a sixteenth of 32");
    first.seat.asks();
    let _third = take(&places, 1, Standing::Client);
    assert!(has_lost(&second), "the other one has asked since");
    assert!(!has_lost(&first) && !has_lost(&others));
    let crowd: Vec<Place> = (0..16).map(|_| take(&places, 2, Standing::Crowd)).collect();
    assert!(!crowd.iter().any(has_lost), "a half of 32");
    let _one_more = take(&places, 2, Standing::Crowd);
    assert!(has_lost(&crowd[0]) && !has_lost(&crowd[1]) && !has_lost(&others));
}

#[test]
fn the_idlest_of_all_goes_when_all_places_are_taken() {
    let places = Places::few(4);
    let taken: Vec<Place> = (0..4).map(|nth| take(&places, nth, Standing::Client)).collect();
    taken[0].seat.asks();
    taken[1].seat.is_answered();
    let fifth = take(&places, 5, Standing::Client);
    assert_eq!(taken.iter().map(has_lost).collect::<Vec<_>>(), [false, false, true, false]);
    let sixth = take(&places, 6, Standing::Client);
    assert_eq!(taken.iter().map(has_lost).collect::<Vec<_>>(), [false, false, true, true]);
    drop((fifth, sixth));
    let more: Vec<Place> = (7..9).map(|nth| take(&places, nth, Standing::Client)).collect();
    assert!(!has_lost(&taken[0]) && !more.iter().any(has_lost), "two places were free");
}

#[test]
fn all_listeners_have_an_end_and_the_fullest_gives_way() {
    let house = Arc::<House>::default();
    let (one, other, third) = (house.listener("a"), house.listener("b"), house.listener("c"));
    let many = |places: &Arc<Places>, count| -> Vec<Place> {
        (0..count).map(|nth| take(places, nth, Standing::Client)).collect()
    };
    let most = many(&one, MAX_CONNECTIONS - 100);
    let some = many(&other, 100);
    assert!(!most.iter().chain(&some).any(has_lost));
    let new = many(&third, 20);
    assert!(most[..20].iter().all(has_lost));
    assert!(!most[20..].iter().chain(&some).chain(&new).any(has_lost));
}

#[test]
fn there_is_no_room_until_those_are_gone_who_have_lost_their_place() {
    let places = Places::few(1);
    let taken: Vec<Place> =
        (0..=MAX_LEAVING).map(|nth| take(&places, nth, Standing::Client)).collect();
    assert!(places.room_now().is_none());
    drop(taken);
    assert!(places.room_now().is_some());
}

#[test]
fn whoever_reads_much_for_one_request_is_long_and_of_those_there_are_few() {
    let house = Arc::<House>::default();
    let places = house.listener("a");
    let taken: Vec<Place> =
        (0..=MAX_LONG).map(|nth| take(&places, nth, Standing::Client)).collect();
    for place in &taken {
        let seat = place.seat();
        seat.reads(SHORT_BYTES).unwrap();
        seat.is_answered();
        seat.reads(SHORT_BYTES).unwrap();
        seat.asks();
    }
    assert!(!taken.iter().any(has_lost), "none is long");
    for place in &taken[1..] {
        place.seat().reads(1).unwrap();
        place.seat().reads(1).unwrap();
    }
    assert!(!taken.iter().any(has_lost), "as many as there may be");
    taken[0].seat().reads(1).unwrap();
    assert_eq!(taken.iter().filter(|place| has_lost(place)).count(), 1);
    assert!(has_lost(&taken[1]), "the idlest of those");
    drop(taken);
    assert_eq!(places.long.load(Ordering::Relaxed), 0);
}

#[test]
fn who_was_long_is_so_no_more_when_that_is_answered_unless_it_was_very_long() {
    let places = Arc::<House>::default().listener("a");
    let place = take(&places, 0, Standing::Client);
    let long = || places.long.load(Ordering::Relaxed);
    for (reads, while_it_comes, then) in [
        (SHORT_BYTES, 0, 0),
        (SHORT_BYTES + 1, 1, 0),
        (STAYS_LONG_BYTES, 1, 0),
        (STAYS_LONG_BYTES + 1, 1, 1),
    ] {
        place.seat().reads(reads).unwrap();
        assert_eq!(long(), while_it_comes, "{reads}");
        place.seat().is_answered();
        assert_eq!((long(), places.table().long()), (then, then), "{reads}");
    }
    place.seat().settle();
    place.seat().reads(STAYS_LONG_BYTES).unwrap();
    assert_eq!(long(), 0, "nobody looks any more");
}

#[test]
fn those_that_are_long_and_have_yet_to_go_have_an_end() {
    let places = Arc::<House>::default().listener("a");
    let taken: Vec<Place> =
        (0..MAX_LONG + MAX_LEAVING).map(|nth| take(&places, nth, Standing::Client)).collect();
    for place in &taken {
        place.seat().is_long().unwrap();
    }
    let one_more = take(&places, 0, Standing::Client);
    assert!(one_more.seat().is_long().is_err());
    drop(taken);
    assert!(one_more.seat().is_long().is_ok());
}

#[test]
fn who_holds_something_for_the_longest_time_goes_where_there_is_too_much() {
    let places = Arc::<House>::default().listener("a");
    let taken: Vec<Place> = (0..4).map(|nth| take(&places, nth, Standing::Crowd)).collect();
    for nth in [2, 1, 3] {
        taken[nth].seat().holds(true);
        std::thread::sleep(Duration::from_micros(2));
    }
    // It holds something still, and this one nothing any more.
    taken[2].seat().holds(true);
    taken[1].seat().holds(false);
    let lost = || taken.iter().map(has_lost).collect::<Vec<_>>();
    taken[0].seat().relieve();
    assert_eq!(lost(), [false, false, true, false]);
    taken[0].seat().relieve();
    taken[0].seat().relieve();
    assert_eq!(lost(), [false, false, true, true], "who holds nothing stays");
}

#[test]
fn a_network_is_an_address_of_ipv4_or_a_64_of_ipv6() {
    let of = |address: &str| Network::of(address.parse().unwrap());
    assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
}

#[test]
fn who_may_stand_for_many_has_a_larger_share() {
    let proxies = ["198.51.100.0/24".parse().unwrap()];
    let of = |address: &str| Standing::of(address.parse().unwrap(), &proxies);
    for crowd in ["198.51.100.7", "::ffff:198.51.100.7", "127.0.0.1", "10.1.2.3", "fd00::1", "::1"]
    {
        assert_eq!(of(crowd), Standing::Crowd, "{crowd}");
    }
    for client in ["192.0.2.1", "198.51.101.7", "2001:db8::1", "172.32.0.1"] {
        assert_eq!(of(client), Standing::Client, "{client}");
    }
    assert_eq!((Standing::Crowd.share(1024), Standing::Client.share(1024)), (512, 64));
}
