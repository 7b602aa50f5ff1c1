//! The accounts of a users file.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization as _;

use super::password::{Cost, Costs};
use crate::{
    secret,
    store::AccountState,
    token::{Role, Roles, UserId, WrittenId},
};

/// The most that a users file may hold, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The most costs that the hashes of one file may have.
const MAX_COSTS: usize = 8;

/// Names that differ by case or by compatible characters are one name: NFKC,
/// with case folded (UAX #31, R4).
#[must_use]
pub fn canonical_name(name: &str) -> String {
    let folded: String = caseless::default_case_fold_str(&name.nfkc().collect::<String>());
    folded.nfkc().collect()
}

/// One account.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user's id.
    pub id: UserId,
    /// The user's name, as it is written in the file.
    pub name: String,
    /// The user's email.
    pub email: Option<String>,
    /// The user's role.
    pub role: Role,
    /// Its name: roles may be others when the configuration is reloaded.
    pub role_name: String,
    /// The password's hash: argon2id, in PHC form.
    pub password_hash: SecretString,
    /// Whether nobody may sign in to it.
    pub disabled: bool,
    /// What a token of this account depends on: a change of it cuts the user
    /// off, and replicas that do not agree about it sign nobody in.
    pub state: AccountState,
}

/// What tells one password's hash from another in the store. Who reads it there
/// learns nothing to guess at: the salt, 128 random bits of `hash-password`, is
/// in what is digested, and nowhere beside it. The user's id keeps two accounts
/// with one hash from looking alike.
fn told_by(id: &UserId, hash: &SecretString) -> String {
    secret::s256(&format!("password of {}\n{}", id.as_str(), hash.expose_secret()))
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    by_name: HashMap<String, Account>,
    /// The name of the one account that has an email, both canonical; `None`
    /// for an email of several.
    by_email: HashMap<String, Option<String>>,
    costs: Arc<Costs>,
    of_a_file: bool,
}

/// Whose email it is.
#[derive(Clone, Copy, Debug)]
pub enum ByEmail<'a> {
    /// No account's.
    Nobody,
    /// One account's.
    One(&'a Account),
    /// More than one account's, and so none's.
    Several,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    users: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: WrittenId,
    name: String,
    #[serde(default)]
    email: Option<String>,
    role: String,
    password_hash: SecretString,
    #[serde(default)]
    disabled: bool,
}

impl Accounts {
    /// Reads a users file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, a sentence each.
    pub fn load(file: &Path, roles: &Roles) -> Result<Self, Vec<String>> {
        let shown = file.display();
        let unreadable = |error: std::io::Error| vec![format!("{shown} cannot be read: {error}")];
        let size = std::fs::metadata(file).map_err(unreadable)?.len();
        if size > MAX_FILE_BYTES {
            return Err(vec![format!("{shown} is longer than {MAX_FILE_BYTES} bytes")]);
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let parsed = Self::parse(&text, roles);
        parsed
            .map(|accounts| Self { of_a_file: true, ..accounts })
            .map_err(|problems| problems.into_iter().map(|p| format!("{shown}: {p}")).collect())
    }

    /// Reads the text of a users file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, a sentence each.
    pub fn parse(text: &str, roles: &Roles) -> Result<Self, Vec<String>> {
        // The message alone: the whole error shows a line, with a hash in it.
        let file: File = toml::from_str(text).map_err(|error| vec![error.message().to_owned()])?;
        let mut problems = Vec::new();
        let mut accounts = Self::default();
        let (mut ids, mut costs) = (HashSet::new(), BTreeSet::new());
        for (at, entry) in file.users.into_iter().enumerate() {
            let mut problem = |cause: String| problems.push(format!("users[{at}]: {cause}"));
            let id = entry.id.to_string();
            if !ids.insert(id.clone()) {
                problem(format!("the id {id:?} is used twice"));
            }
            let id = UserId::new(id).filter(|id| !id.as_str().starts_with("sso:"));
            if id.is_none() {
                problem("the id is empty, or begins with \"sso:\"".into());
            }
            let role = roles.get(&entry.role);
            if role.is_none() {
                problem(format!("{:?} is not one of identity.roles", entry.role));
            }
            match Cost::of(&entry.password_hash) {
                Ok(cost) => drop(costs.insert(cost)),
                Err(cause) => problem(format!("password_hash: {cause}")),
            }
            let canonical = canonical_name(&entry.name);
            if canonical.trim().is_empty() {
                problem("the name is empty".into());
            }
            if accounts.by_name.contains_key(&canonical) {
                problem(format!(
                    "the name {:?} is used twice, perhaps in another case",
                    entry.name
                ));
            }
            if let (Some(id), Some(role)) = (id, role) {
                let state = if entry.disabled { "disabled" } else { &entry.role };
                let account = Account {
                    state: AccountState {
                        state: state.to_owned(),
                        password: Some(told_by(&id, &entry.password_hash)),
                    },
                    id,
                    name: entry.name,
                    email: entry.email.filter(|email| !email.is_empty()),
                    role,
                    role_name: entry.role,
                    password_hash: entry.password_hash,
                    disabled: entry.disabled,
                };
                if let Some(email) = &account.email {
                    let owner = accounts.by_email.entry(canonical_name(email));
                    owner.and_modify(|owner| *owner = None).or_insert(Some(canonical.clone()));
                }
                accounts.by_name.insert(canonical, account);
            }
        }
        if costs.len() > MAX_COSTS {
            problems.push(format!(
                "its hashes have {} different costs, and a sign-in computes one of each; at most \
                 {MAX_COSTS} are taken",
                costs.len()
            ));
        }
        accounts.costs = Arc::new(Costs::new(costs));
        if problems.is_empty() { Ok(accounts) } else { Err(problems) }
    }

    /// Whether a file says who there is, so that whoever is not in it is gone.
    #[must_use]
    pub fn are_of_a_file(&self) -> bool {
        self.of_a_file
    }

    /// The canonical name of whoever signs in by this one, which is a name or,
    /// where no account has that name, an email that exactly one has. What is
    /// neither is its own.
    #[must_use]
    pub fn meant_by(&self, canonical: String) -> String {
        if self.by_name.contains_key(&canonical) {
            return canonical;
        }
        self.by_email.get(&canonical).cloned().flatten().unwrap_or(canonical)
    }

    /// The account of a [`canonical_name`].
    #[must_use]
    pub fn by_name(&self, canonical: &str) -> Option<&Account> {
        self.by_name.get(canonical)
    }

    /// The account of an email. Case does not count in ASCII, as with the
    /// providers of mailboxes; letters that only look alike are others.
    #[must_use]
    pub fn by_email(&self, email: &str) -> ByEmail<'_> {
        let has_it = |account: &&Account| {
            account.email.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(email))
        };
        let mut found = self.iter().filter(has_it);
        match (found.next(), found.next()) {
            (None, _) => ByEmail::Nobody,
            (Some(account), None) => ByEmail::One(account),
            _ => ByEmail::Several,
        }
    }

    /// All accounts.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.by_name.values()
    }

    /// How many different costs the passwords' hashes have. A sign-in computes
    /// a hash of each.
    #[must_use]
    pub fn count_costs(&self) -> usize {
        self.costs.count()
    }

    /// What a sign-in costs, whoever it is.
    pub(super) fn costs(&self) -> &Arc<Costs> {
        &self.costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_file_is_read_up_to_sixty_four_mebibytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let roles = Roles::new(vec!["A".into()]).unwrap();
        // What begins so is no text, which is wrong in another way.
        std::fs::write(file.path(), [0xff]).unwrap();
        for (length, expected) in
            [(64 << 20, "cannot be read"), ((64 << 20) + 1, "is longer than 67108864 bytes")]
        {
            file.as_file().set_len(length).unwrap();
            let problems = Accounts::load(file.path(), &roles).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
        }
    }

    /// A users file of so many accounts, each with a hash of another cost.
    fn users(count: usize) -> String {
        let user = |at: usize| {
            format!(
                "[[users]]\nid = \"{at}\"\nname = \"name-{at}\"\nemail = \"{at}@example.com\"\n\
                 role = \"A\"\npassword_hash = \"$argon2id$v=19$m={},t=2,p=1\
                 $c29tZXNhbHRzb21lc2FsdA$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"\n",
                19_456 + at
            )
        };
        (0..count).map(user).collect()
    }

    fn parse(text: &str) -> Result<Accounts, Vec<String>> {
        Accounts::parse(text, &Roles::new(vec!["A".into()]).unwrap())
    }

    #[test]
    fn the_hashes_of_a_file_have_at_most_eight_costs() {
        let accounts = parse(&users(8)).unwrap();
        assert_eq!((accounts.count_costs(), accounts.iter().count()), (8, 8));
        // A sign-in is for all of them.
        assert_eq!(accounts.costs().count(), 8);
        let problems = parse(&users(9)).unwrap_err();
        assert!(problems[0].starts_with("its hashes have 9 different costs"), "{problems:?}");
    }

    #[test]
    fn an_account_is_found_by_its_name_and_by_an_email_that_no_other_has() {
        let accounts = parse(&users(2)).unwrap();
        let id = |found: ByEmail<'_>| match found {
            ByEmail::One(account) => account.id.to_string(),
            ByEmail::Nobody => "nobody".to_owned(),
            ByEmail::Several => "several".to_owned(),
        };
        assert_eq!(id(accounts.by_email("1@EXAMPLE.com")), "1");
        assert_eq!(id(accounts.by_email("2@example.com")), "nobody");
        assert_eq!(accounts.by_name("name-1").unwrap().id.as_str(), "1");
        assert!(accounts.by_name("name-2").is_none());
        assert_eq!(accounts.meant_by("0@example.com".to_owned()), "name-0");
        let both = parse(&users(2).replace("1@example.com", "0@example.com")).unwrap();
        assert_eq!(id(both.by_email("0@example.com")), "several");
        assert_eq!(both.meant_by("0@example.com".to_owned()), "0@example.com");
    }

    #[test]
    fn an_account_is_another_one_once_its_password_is() {
        let of = |text: &str| {
            let accounts = parse(text).unwrap();
            let state = |name| accounts.by_name(name).unwrap().state.clone();
            [state("name-0"), state("name-1")]
        };
        // Both have one hash.
        let same = users(2).replace("m=19457", "m=19456");
        let [first, second] = of(&same);
        assert_eq!(of(&same), [first.clone(), second.clone()]);
        assert_ne!(first, second);
        let [changed, unchanged] = of(&same.replacen("AAEC", "BAEC", 1));
        assert_ne!(changed, first);
        assert_eq!(unchanged, second);
        assert_eq!((first.state.as_str(), changed.state.as_str()), ("A", "A"));
    }

    #[test]
    fn accounts_of_a_file_are_told_from_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), users(1)).unwrap();
        let roles = Roles::new(vec!["A".into()]).unwrap();
        assert!(Accounts::load(file.path(), &roles).unwrap().are_of_a_file());
        assert!(!Accounts::default().are_of_a_file());
    }
}
