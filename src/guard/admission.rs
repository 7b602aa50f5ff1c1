//! Who was let in, and until when.

use std::{fmt, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    authz::Principal,
    clock::{Clock, Timestamp},
};

/// The longest sleep before the clock is looked at again: it may have been
/// set, and a machine may have slept.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// A user, as the token of the request tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub name: String,
    /// The user's email.
    pub email: Option<String>,
    /// The name of the user's role.
    pub role: String,
}

/// The token has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the token has expired")]
pub struct Expired;

/// That a request was let in; an extension of the request.
#[derive(Clone)]
pub struct Admission {
    user: Option<User>,
    ends_at: Option<Timestamp>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("user", &self.user)
            .field("ends_at", &self.ends_at)
            .finish_non_exhaustive()
    }
}

impl Admission {
    pub(super) fn new(
        principal: Option<&Principal<'_>>,
        leeway: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            user: principal.map(|Principal { claims, role }| User {
                id: claims.user_id.to_string(),
                name: claims.name.clone(),
                email: claims.email.clone(),
                role: (*role).to_owned(),
            }),
            ends_at: principal.map(|principal| principal.claims.expires_at.plus(leeway)),
            clock,
        }
    }

    /// The user; `None` on a public route that nobody signed in for.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Completes when the token is not accepted any more because of its age;
    /// never without a token.
    pub async fn expired(&self) {
        let Some(ends_at) = self.ends_at else { return std::future::pending().await };
        loop {
            let left = ends_at.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    /// Runs a conversation for as long as the token is good.
    ///
    /// # Errors
    ///
    /// [`Expired`] when the token ended first; the conversation is dropped.
    pub async fn until_expired<F: Future>(&self, conversation: F) -> Result<F::Output, Expired> {
        tokio::select! {
            biased;
            () = self.expired() => Err(Expired),
            output = conversation => Ok(output),
        }
    }
}
