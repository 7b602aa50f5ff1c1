//! Keys of somebody else's making, known by their hash alone.

use crate::clock::Timestamp;

use super::{
    record::{ApiKey, KeySays},
    table::KeyTable,
    text::KeyHash,
};

/// Keys of somebody else's making.
#[derive(Debug)]
pub struct Foreign {
    /// The keys.
    pub table: KeyTable,
}

impl Foreign {
    /// Reads lines of `sha256-hex user_id role`, and behind that, when it was made:
    /// one without is void for good once its user is cut off. Empty lines, and those
    /// that begin with `#`, say nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with it, a sentence each.
    pub fn parse(text: &str, is_role: impl Fn(&str) -> bool) -> Result<Self, Vec<String>> {
        let (mut table, mut problems) = (KeyTable::default(), Vec::new());
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut problem = |cause: String| problems.push(format!("line {}: {cause}", at + 1));
            let mut words = line.split_whitespace();
            let (Some(hash), Some(user_id), Some(role), made, None) =
                (words.next(), words.next(), words.next(), words.next(), words.next())
            else {
                problem("it is not \"sha256-hex user_id role\"".to_owned());
                continue;
            };
            let created = made.map(Timestamp::parse);
            if created == Some(None) {
                problem(
                    "what follows the role is not a time such as 2027-01-31T00:00:00Z".to_owned(),
                );
                continue;
            }
            let created = created.flatten().map(Timestamp::as_secs);
            // Not shown: somebody may have written the key itself.
            let Some(hash) = KeyHash::from_hex(hash) else {
                problem("it does not begin with 64 hexadecimal digits".to_owned());
                continue;
            };
            if !is_role(role) {
                problem(format!("{role:?} is not one of identity.roles"));
                continue;
            }
            let (user_id, name) = (user_id.to_owned(), user_id.to_owned());
            let role = role.to_owned();
            let says = KeySays { user_id, name, role, created, ..KeySays::default() };
            if let Some(cause) = says.problem() {
                problem(cause);
                continue;
            }
            let id = hash.as_id();
            if table.contains(id) {
                problem("the hash occurs twice".to_owned());
                continue;
            }
            table.put(&ApiKey { id, hash, says, expires: None, revoked: None });
        }
        if problems.is_empty() { Ok(Self { table }) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_what_is_wrong_is_told() {
        let hash = KeyHash::of("sk-1").to_hex();
        let text = format!("# LiteLLM's\n\n{hash}  7  ADMIN\n");
        assert_eq!(Foreign::parse(&text, |role| role == "ADMIN").unwrap().table.len(), 1);
        for bad in [
            "sk-1234 7 ADMIN".to_owned(),
            format!("{hash} 7"),
            format!("{hash} 7 ADMIN x"),
            format!("{hash} 7 ADMIN 2027-01-31T00:00:00Z x"),
            format!("{hash} 7 ROOT"),
            format!("{hash} 7 ADMIN\n{hash} 8 ADMIN"),
        ] {
            let problems = Foreign::parse(&bad, |role| role == "ADMIN").unwrap_err();
            assert_eq!(problems.len(), 1, "{bad}: {problems:?}");
            assert!(!problems.join("").contains("sk-1234"), "{problems:?}");
        }
    }
}
