//! The spellings of a header that some server takes for one with hyphens: one
//! table for every place at which such a header must end.

/// Whatever may stand in a header's name, but letters and digits (RFC 9110,
/// section 5.6.2).
pub(crate) const SEPARATORS: &str = "-_.!#$%&'*+^`|~";

/// `x-` and this name: with each separator in the place of all hyphens, of the
/// first and of the last one alone, and in capitals.
pub(crate) fn spellings(name: &str) -> Vec<String> {
    let hyphens = format!("x-{name}");
    let last = hyphens.rfind('-').unwrap();
    let mut all = Vec::new();
    for separator in SEPARATORS.chars() {
        let one = separator.to_string();
        let mut at_the_end = hyphens.clone();
        at_the_end.replace_range(last..=last, &one);
        all.push(hyphens.replace('-', &one).to_ascii_uppercase());
        all.extend([hyphens.replace('-', &one), hyphens.replacen('-', &one, 1), at_the_end]);
    }
    all.sort_unstable();
    all.dedup();
    all
}
