//! The regional workers that a control plane signs people in at.

use serde::Serialize;

/// One worker, as the discovery document tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Worker {
    /// Its id; unique.
    pub worker_id: String,
    /// Its name for people.
    pub name: String,
    /// Where browsers reach it, without a slash at the end.
    pub url: String,
}
