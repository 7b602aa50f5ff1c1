//! Names of headers that the configuration has, read once on each thread: reading one
//! allocates, and each answer has several.

use std::cell::RefCell;

use http::HeaderName;

/// The most that are kept: a configuration has a few, and another one may come.
const MOST: usize = 32;

thread_local! {
    static READ: RefCell<Vec<HeaderName>> = const { RefCell::new(Vec::new()) };
}

/// The name that is written so, in lower case; `None` for what is none.
pub(super) fn header_name(name: &str) -> Option<HeaderName> {
    READ.with_borrow_mut(|read| {
        if let Some(known) = read.iter().find(|known| known.as_str() == name) {
            return Some(known.clone());
        }
        let new = HeaderName::try_from(name).ok()?;
        if read.len() < MOST {
            read.push(new.clone());
        }
        Some(new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_often_it_is_read() {
        for _ in 0..3 {
            for n in 0..2 * MOST {
                let name = format!("x-user-{n}");
                assert_eq!(header_name(&name).unwrap().as_str(), name);
            }
        }
        assert!(header_name("a b").is_none() && header_name("").is_none());
    }
}
