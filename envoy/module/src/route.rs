//! What a route of Envoy's says to the filter.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The configuration of a route.
#[derive(Debug)]
pub(crate) struct Route {
    context: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// As of `ext_authz`: what conditions may ask for as `context`.
    context_extensions: BTreeMap<String, String>,
}

impl Route {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and how to fix it.
    pub(crate) fn of(config: &[u8]) -> Result<Self, String> {
        let said: Said = serde_json::from_slice(config).map_err(|error| {
            format!(
                "the filter_config of a route is not {{\"context_extensions\": {{\"plan\": \
                 \"gold\"}}}}: {error}"
            )
        })?;
        Ok(Self { context: said.context_extensions.into_iter().collect() })
    }

    /// What it says, by rising names.
    pub(crate) fn context(&self) -> &[(String, String)] {
        &self.context
    }
}
