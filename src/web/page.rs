//! Pages for people: what happened, and how to try again.

use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};

use super::error::ApiError;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.25rem}\
a{color:light-dark(#0b57d0,#a8c7fa)}\
small{color:light-dark(#555,#aaa)}";

/// Whether whoever asks reads pages: it names HTML among what it accepts.
pub(super) fn reads_html(headers: &HeaderMap) -> bool {
    let is_html = |range: &str| {
        range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
    };
    let lines = headers.get_all(header::ACCEPT).into_iter();
    lines.filter_map(|line| line.to_str().ok()).any(|line| line.split(',').any(is_html))
}

/// An error as a page, with a link to try again.
pub(super) fn failed(error: &ApiError, again: &str) -> Response {
    let (message, status) = (escape(error.message()), error.status());
    let wait = error.retry_after().map_or_else(String::new, |seconds| {
        format!(" It ends in {} minutes.", seconds.div_ceil(60))
    });
    // The address of this page may hold a code and a state: it is told to
    // nobody, not even to this service.
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"referrer\" content=\"no-referrer\">\
         <title>Sign-in failed</title><style>{STYLE}</style>\
         <main><h1>Sign-in failed</h1><p role=\"alert\">{message}.{wait}</p>\
         <p><a href=\"{}\">Try again</a></p><p><small>Status {}</small></p></main></html>",
        escape(again),
        status.as_u16()
    );
    let mut response = (status, page).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let hash =
        STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Text as HTML, also within an attribute.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, c| {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
        html
    })
}
