//! The floor that `/auth/nginx` is measured against: an axum handler that
//! answers 204 and looks at nothing.

use axum::{Router, http::StatusCode, routing::any};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    #[expect(clippy::print_stdout, reason = "the script that starts it reads the address")]
    {
        println!("listening on {}", listener.local_addr()?);
    }
    let router = Router::new().route("/auth/nginx", any(async || StatusCode::NO_CONTENT));
    axum::serve(listener, router).await
}
