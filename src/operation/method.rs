//! The methods of MCP that name something.

/// The method that calls a tool.
pub(super) const CALL: &str = "tools/call";

/// The parameter that names what a method is done to.
pub(super) fn parameter<T>(method: &str, name: T, uri: T) -> Option<T> {
    match method {
        CALL | "prompts/get" => Some(name),
        "resources/read" => Some(uri),
        _ => None,
    }
}
