//! A small agent service, as it stands behind a gateway: it checks once more
//! with [`portcullis::guard`], keeps each user's agents, and lets them talk to
//! a model. Its answers tell what arrived (`received`), so that tests and
//! people see what the gateway passed on.
//!
//! | path | what it is |
//! |---|---|
//! | `/api/healthcheck` | `ok` |
//! | `/api/agents` | POST makes an agent (`modelType`, and perhaps `name` and `settings`), GET lists one's own |
//! | `/api/agents/models` | what `modelType` may be, as the model server tells |
//! | `/api/agents/{id}` | GET, DELETE |
//! | `/api/users/{owner}/agents` | GET lists a user's, for whom a rule lets; the built-in rules let nobody |
//! | `/api/agents/{id}/settings` | GET; PUT takes the place of all, PATCH changes some |
//! | `/api/agents/{id}/react` | a WebSocket to talk to it, see [`react`] |
//!
//! An agent is its maker's: to everybody else but an `ADMIN` there is none of
//! this id. All of it is in memory, within limits, and gone with the process.
//!
//! It is configured as portcullis is (`AUTH_JWT_SECRET` will do), and by:
//!
//! - `AGENTS_LISTEN`: the address, `127.0.0.1:8081` unless it is set;
//! - `LITELLM_BASE_URL`: an OpenAI-compatible model server, as a LiteLLM
//!   proxy is one; without it a WebSocket echoes;
//! - `LITELLM_MASTER_KEY`: what it is asked with. No client, log or other
//!   server hears it.

mod arrived;
mod completion;
mod events;
mod models;
mod react;
mod routes;
mod settings;
mod store;

use std::process::ExitCode;

use axum::middleware;
use portcullis::{
    config::{Config, Sources},
    guard::GuardLayer,
};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let guard = GuardLayer::new(Config::load(&Sources::of_process(vec![]))?);
    let models = models::ModelServer::new(
        variable("LITELLM_BASE_URL").as_deref(),
        variable("LITELLM_MASTER_KEY").as_deref(),
    )?;
    // Layers are passed from the last to the first: what arrived is kept as it
    // was before the guard puts its own headers in place.
    let service = routes::router(models).layer(guard).layer(middleware::map_request(arrived::keep));

    let address = variable("AGENTS_LISTEN").unwrap_or_else(|| "127.0.0.1:8081".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    say(&format!("listening on {}", listener.local_addr()?));
    axum::serve(listener, service).await?;
    Ok(())
}

/// Tells who runs it. What is said here holds nothing of a user's and no key.
#[expect(clippy::print_stdout, reason = "the log of this example")]
fn say(line: &str) {
    println!("agents: {line}");
}

#[expect(clippy::disallowed_methods, reason = "the settings of this example")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
