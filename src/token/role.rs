//! The roles a user can have, and sets of them.

use thiserror::Error;

/// One of the configured roles, known by its place in [`Roles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(u8);

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleSet(u64);

impl RoleSet {
    /// Whether the role is in the set.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0 & (1 << role.0) != 0
    }

    /// Whether every role of this set is in the other.
    #[must_use]
    pub fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

impl FromIterator<Role> for RoleSet {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | (1 << role.0)))
    }
}

/// Why a list of roles cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RolesError {
    /// Nobody could be let in.
    #[error("there is no role")]
    None,
    /// More than fit a [`RoleSet`].
    #[error("there are {0} roles; at most 64 are possible")]
    TooMany(usize),
    /// A role of no letters.
    #[error("a role has an empty name")]
    Empty,
    /// Two roles of one name.
    #[error("the role {0:?} is listed twice")]
    Repeated(String),
}

/// All roles, from the lowest to the highest.
#[derive(Clone, Debug)]
pub struct Roles(Vec<String>);

impl Roles {
    /// The roles of these names, lowest first.
    ///
    /// # Errors
    ///
    /// [`RolesError`] for an empty list, more than 64 roles, an empty or a
    /// repeated name.
    pub fn new(names: Vec<String>) -> Result<Self, RolesError> {
        if names.is_empty() {
            return Err(RolesError::None);
        }
        if names.len() > 64 {
            return Err(RolesError::TooMany(names.len()));
        }
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Err(RolesError::Empty);
            }
            if names.iter().take(at).any(|earlier| earlier == name) {
                return Err(RolesError::Repeated(name.clone()));
            }
        }
        Ok(Self(names))
    }

    /// The role of this very name: case counts.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Role> {
        let at = self.0.iter().position(|known| known == name)?;
        u8::try_from(at).ok().map(Role)
    }

    /// The names of the roles of a set, lowest first.
    pub fn names_in(&self, set: RoleSet) -> impl Iterator<Item = &str> {
        let numbered = (0..).map(Role).zip(&self.0);
        numbered.filter(move |(role, _)| set.contains(*role)).map(|(_, name)| name.as_str())
    }

    /// The name of a role of this list.
    #[must_use]
    pub fn name(&self, role: Role) -> &str {
        self.0.get(usize::from(role.0)).map_or("", String::as_str)
    }

    /// All names, lowest first.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Result<Roles, RolesError> {
        Roles::new(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_role_is_found_by_its_exact_name_alone() {
        let roles = roles(&["REGULAR", "ADMIN"]).unwrap();
        assert!(roles.get("ADMIN") > roles.get("REGULAR"));
        assert_eq!(roles.get("admin"), None);
        assert_eq!(roles.get("ADMIN "), None);
        assert_eq!(roles.name(roles.get("ADMIN").unwrap()), "ADMIN");
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let names: Vec<String> = (0..64).map(|n| format!("r{n}")).collect();
        let roles = Roles::new(names).unwrap();
        let last = roles.get("r63").unwrap();
        let set: RoleSet = [roles.get("r0").unwrap(), last].into_iter().collect();
        assert!(set.contains(last));
        assert!(!set.contains(roles.get("r1").unwrap()));
        assert!(roles.names_in(set).eq(["r0", "r63"]));
    }

    #[test]
    fn a_set_is_within_another_one_that_has_all_of_it() {
        let roles = roles(&["A", "B", "C"]).unwrap();
        let set = |names: &[&str]| -> RoleSet {
            names.iter().map(|name| roles.get(name).unwrap()).collect()
        };
        assert!(set(&["A", "C"]).is_subset(set(&["A", "B", "C"])));
        assert!(set(&["A"]).is_subset(set(&["A"])) && set(&[]).is_subset(set(&[])));
        assert!(!set(&["A", "B"]).is_subset(set(&["A", "C"])));
        assert!(!set(&["A"]).is_subset(set(&[])));
        assert_eq!(set(&["A", "A"]), set(&["A"]));
    }

    #[test]
    fn lists_that_cannot_work_are_refused() {
        assert_eq!(roles(&[]).err(), Some(RolesError::None));
        assert_eq!(roles(&["A", ""]).err(), Some(RolesError::Empty));
        assert_eq!(roles(&["A", "A"]).err(), Some(RolesError::Repeated("A".into())));
        let many = (0..65).map(|n| n.to_string()).collect();
        assert_eq!(Roles::new(many).err(), Some(RolesError::TooMany(65)));
    }
}
