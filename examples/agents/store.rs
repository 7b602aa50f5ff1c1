//! The agents, in memory, and who may see them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    arrived::{Caller, Refusal},
    settings::Settings,
};

/// The most agents of one user.
const MAX_OF_ONE: usize = 50;
/// The most of all.
const MAX_OF_ALL: usize = 1000;

/// One agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) model_type: String,
    pub(crate) settings: Settings,
    /// The user's id who made it.
    owner: String,
    created_at: String,
    /// Cancelled when it is deleted.
    pub(crate) gone: CancellationToken,
}

impl Agent {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "modelType": self.model_type,
            "createdAt": self.created_at,
            "owner": self.owner,
            "settings": self.settings.json(),
        })
    }

    fn is_seen_by(&self, caller: &Caller) -> bool {
        caller.is_admin() || self.owner == caller.user.id
    }
}

/// All agents of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    made: u64,
    all: Vec<Agent>,
}

impl Agents {
    /// Makes one, named by its id where it has no name.
    pub(crate) fn create(
        &self,
        caller: &Caller,
        model_type: String,
        name: Option<String>,
        settings: Settings,
        created_at: String,
    ) -> Result<Agent, Refusal> {
        let mut inner = self.lock();
        let owner = caller.user.id.clone();
        if inner.all.iter().filter(|agent| agent.owner == owner).count() >= MAX_OF_ONE {
            return Err(Refusal(StatusCode::CONFLICT, "you have 50 agents: delete one first"));
        }
        if inner.all.len() >= MAX_OF_ALL {
            let full = "there are as many agents as may be: try again later";
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, full));
        }
        inner.made += 1;
        let id = format!("agent-{}", inner.made);
        let name = name.unwrap_or_else(|| id.clone());
        let gone = CancellationToken::new();
        let agent = Agent { id, name, model_type, settings, owner, created_at, gone };
        inner.all.push(agent.clone());
        Ok(agent)
    }

    /// Those that the caller may see, the oldest first.
    pub(crate) fn list(&self, caller: &Caller) -> Vec<Agent> {
        self.lock().all.iter().filter(|agent| agent.is_seen_by(caller)).cloned().collect()
    }

    /// Those of one user, the oldest first; whoever asks.
    pub(crate) fn of(&self, owner: &str) -> Vec<Agent> {
        self.lock().all.iter().filter(|agent| agent.owner == owner).cloned().collect()
    }

    pub(crate) fn get(&self, caller: &Caller, id: &str) -> Result<Agent, Refusal> {
        self.change(caller, id, |_| Ok(()))
    }

    /// Changes one, and gives it back as it is then.
    pub(crate) fn change(
        &self,
        caller: &Caller,
        id: &str,
        change: impl FnOnce(&mut Agent) -> Result<(), Refusal>,
    ) -> Result<Agent, Refusal> {
        let mut inner = self.lock();
        let agent = inner.all.iter_mut().find(|agent| agent.id == id && agent.is_seen_by(caller));
        let agent = agent.ok_or(Refusal::NOT_FOUND)?;
        change(agent)?;
        Ok(agent.clone())
    }

    /// Deletes one; who talks to it is told.
    pub(crate) fn delete(&self, caller: &Caller, id: &str) -> Result<(), Refusal> {
        let agent = self.get(caller, id)?;
        agent.gone.cancel();
        self.lock().all.retain(|other| other.id != id);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done: each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
