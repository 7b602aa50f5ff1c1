//! The paths, and what is answered there.

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use portcullis::clock::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    arrived::{Answer, Arrived, Caller, Refusal, read},
    models::ModelServer,
    react::{self, Conversations},
    settings::Settings,
    store::{Agent, Agents},
};

/// The most of a name, and of a model's, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) agents: Agents,
    pub(crate) models: ModelServer,
    pub(crate) conversations: Conversations,
}

pub(crate) fn router(models: ModelServer) -> Router {
    let service =
        Service { agents: Agents::default(), models, conversations: Conversations::default() };
    Router::new()
        .route("/api/healthcheck", get(|| async { "ok" }))
        .route("/api/agents", get(list).post(create).fallback(wrong_method))
        .route("/api/agents/models", get(list_models))
        .route("/api/agents/{id}", get(one).delete(delete).fallback(wrong_method))
        .route(
            "/api/agents/{id}/settings",
            get(settings).put(replace_settings).patch(change_settings).fallback(wrong_method),
        )
        .route("/api/users/{owner}/agents", get(list_of_owner).fallback(wrong_method))
        .route("/api/agents/{id}/react", get(react::open).fallback(wrong_method))
        .fallback(nothing_here)
        .with_state(service)
}

async fn nothing_here(Extension(arrived): Extension<Arrived>) -> Response {
    arrived.answer(Err(Refusal(StatusCode::NOT_FOUND, "there is nothing at this path")))
}

async fn wrong_method(Extension(arrived): Extension<Arrived>) -> Response {
    let fix = "the path has no such method: the header `allow` names them";
    arrived.answer(Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, fix)))
}

/// What makes an agent; a client may send more, which is of no use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    model_type: String,
    name: Option<String>,
    #[serde(default)]
    settings: Map<String, Value>,
}

async fn create(State(service): State<Service>, caller: Caller, body: Body) -> Response {
    let answer = make(&service.agents, &caller, body).await;
    caller.answer(answer)
}

async fn make(agents: &Agents, caller: &Caller, body: Body) -> Answer {
    const FIX: &str = "modelType is required: send {\"modelType\": …, \"name\": …, \"settings\": {…}}, \
                        with one of /api/agents/models";
    let Wish { model_type, name, settings } = read(body, FIX).await?;
    if model_type.is_empty() {
        return Err(Refusal::bad(FIX));
    }
    if [Some(&model_type), name.as_ref()].into_iter().flatten().any(|t| t.len() > MAX_NAME_BYTES) {
        return Err(Refusal::bad("modelType and name may have 200 bytes each"));
    }
    let name = name.filter(|name| !name.is_empty());
    let now = u64::try_from(SystemClock.now().as_millis()).unwrap_or_default();
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_millis(now);
    let created_at = humantime::format_rfc3339_millis(now).to_string();
    let settings = Settings::of(settings)?;
    let agent = agents.create(caller, model_type, name, settings, created_at)?;
    Ok((StatusCode::CREATED, agent.json()))
}

async fn list(State(service): State<Service>, caller: Caller) -> Response {
    let agents: Vec<Value> = service.agents.list(&caller).iter().map(Agent::json).collect();
    caller.answer(Ok((StatusCode::OK, json!({ "agents": agents }))))
}

/// Whose agents they are is in the path, so who may see them is said by a rule:
/// `when = 'path.owner == user.id || user.role == "ADMIN"'`. The guard asks it again.
async fn list_of_owner(
    State(service): State<Service>,
    caller: Caller,
    Path(owner): Path<String>,
) -> Response {
    let agents: Vec<Value> = service.agents.of(&owner).iter().map(Agent::json).collect();
    caller.answer(Ok((StatusCode::OK, json!({ "agents": agents }))))
}

async fn one(State(service): State<Service>, caller: Caller, Path(id): Path<String>) -> Response {
    let agent = service.agents.get(&caller, &id);
    caller.answer(agent.map(|agent| (StatusCode::OK, agent.json())))
}

async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Response {
    let deleted = service.agents.delete(&caller, &id);
    caller.answer(deleted.map(|()| (StatusCode::OK, json!({ "deleted": true }))))
}

async fn settings(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Response {
    let agent = service.agents.get(&caller, &id);
    as_they_are(caller, agent)
}

async fn replace_settings(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    set(service, caller, id, body, |_, wanted| Settings::of(wanted)).await
}

async fn change_settings(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    set(service, caller, id, body, Settings::changed).await
}

async fn set(
    service: Service,
    caller: Caller,
    id: String,
    body: Body,
    make: impl FnOnce(&Settings, Map<String, Value>) -> Result<Settings, Refusal>,
) -> Response {
    let answer = match read(body, "send the settings as a JSON object").await {
        Ok(wanted) => service.agents.change(&caller, &id, |agent| {
            agent.settings = make(&agent.settings, wanted)?;
            Ok(())
        }),
        Err(refusal) => Err(refusal),
    };
    as_they_are(caller, answer)
}

/// The settings alone, so that a client can send them back.
fn as_they_are(caller: Caller, agent: Result<Agent, Refusal>) -> Response {
    match agent {
        Ok(agent) => Json(agent.settings.json()).into_response(),
        Err(refusal) => caller.answer(Err(refusal)),
    }
}

async fn list_models(State(service): State<Service>) -> Response {
    match service.models.list().await {
        Ok(models) => Json(models).into_response(),
        Err(failure) => {
            crate::say(&failure.to_string());
            let body = Json(json!({ "error": failure.to_string() }));
            (StatusCode::BAD_GATEWAY, body).into_response()
        }
    }
}
