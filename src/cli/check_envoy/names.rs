//! Names of headers: those that say who somebody is, and lists that may name them.

use regex::Regex;

use super::tree::Node;

/// The four that portcullis sets.
pub(super) const SET: [&str; 4] = ["x-user-id", "x-user-name", "x-user-email", "x-user-role"];
/// Spellings of them to upstreams that hand headers on as variables.
pub(super) const WITH_UNDERSCORES: [&str; 3] = ["x_user_role", "x-user_id", "x_user_anything"];
/// The same, without an underscore; and another name of theirs.
pub(super) const WITHOUT_UNDERSCORES: [&str; 3] = ["x.user.role", "x~user~role", "x-user-anything"];
/// Credentials in requests.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

/// Whether a header tells an upstream who somebody is, in any spelling.
pub(super) fn is_identity(name: &str) -> bool {
    let letter = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    let folded = name.bytes().map(|byte| letter(byte.to_ascii_lowercase()));
    folded.take(7).eq(*b"x-user-")
}

/// Whether a header of a request is a credential.
pub(super) fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a `ListStringMatcher` has this name.
pub(super) fn is_listed(list: Option<&Node<'_>>, name: &str) -> bool {
    list.is_some_and(|list| list.list("patterns").iter().any(|one| matches(one, name)))
}

/// Whether a `StringMatcher` matches this name.
pub(super) fn matches(matcher: &Node<'_>, name: &str) -> bool {
    let lower = |text: &str| text.to_ascii_lowercase();
    let ignores_case = matcher.is_on("ignore_case");
    let holds = |field: &str, test: fn(&str, &str) -> bool| {
        matcher.text(field).is_some_and(|text| {
            if ignores_case { test(&lower(name), &lower(text)) } else { test(name, text) }
        })
    };
    holds("exact", |name, text| name == text)
        || holds("prefix", |name, text| name.starts_with(text))
        || holds("suffix", |name, text| name.ends_with(text))
        || holds("contains", |name, text| name.contains(text))
        || matcher.get("safe_regex").is_some_and(|regex| fits(&regex, name))
}

/// Whether a `RegexMatcher` matches all of this name.
pub(super) fn fits(matcher: &Node<'_>, name: &str) -> bool {
    let regex = matcher.text("regex").and_then(|text| Regex::new(&format!("^(?:{text})$")).ok());
    regex.is_some_and(|regex| regex.is_match(name))
}
