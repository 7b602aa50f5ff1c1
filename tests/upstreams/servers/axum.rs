//! An upstream of axum, beside those of other languages: it answers with the name of
//! the handler that a request has reached.

use axum::{Router, http::StatusCode, routing::get};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let router = Router::new()
        .route("/", get("handler=home\n"))
        .route("/api/healthcheck", get("handler=health\n"))
        .route("/public", get("handler=public\n"))
        .route("/public/{*rest}", get("handler=public\n"))
        .route("/static/{*rest}", get("handler=static\n"))
        .route("/users/{id}", get("handler=user\n"))
        .route("/users/{id}/keys", get("handler=keys\n"))
        .route("/api/agents", get("handler=agents\n"))
        .route("/api/agents/{id}", get("handler=agent\n"))
        .route("/admin", get("handler=admin\n"))
        .route("/admin/", get("handler=below\n"))
        .route("/admin/{*rest}", get("handler=below\n"))
        .fallback((StatusCode::NOT_FOUND, "handler=none\n"));
    axum::serve(listener, router).await
}
