//! What one may set of an agent.

use serde_json::{Map, Value};

use crate::arrived::Refusal;

/// The most of an agent's settings, in bytes of JSON.
const MAX_BYTES: usize = 16 * 1024;

/// The settings of an agent. These are used, and the rest is kept for the
/// client as it is:
///
/// - `systemPrompt`: what the model is told before all else;
/// - `temperature`: from 0 to 2;
/// - `maxTokens`: the most that the model may answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(Map<String, Value>);

impl Settings {
    /// Takes these, if those that are used are of use.
    pub(crate) fn of(map: Map<String, Value>) -> Result<Self, Refusal> {
        type Check = fn(&Value) -> bool;
        let checks: [(&str, Check, &str); 3] = [
            ("systemPrompt", Value::is_string, "systemPrompt has to be a text"),
            (
                "temperature",
                |value| value.as_f64().is_some_and(|value| (0.0..=2.0).contains(&value)),
                "temperature has to be a number from 0 to 2",
            ),
            (
                "maxTokens",
                |value| value.as_u64().is_some_and(|value| value > 0),
                "maxTokens has to be a whole number above 0",
            ),
        ];
        for (name, is_good, fix) in checks {
            if map.get(name).is_some_and(|value| !is_good(value)) {
                return Err(Refusal::bad(fix));
            }
        }
        let settings = Self(map);
        if settings.json().to_string().len() > MAX_BYTES {
            return Err(Refusal::bad("settings may have 16 KiB: leave something out"));
        }
        Ok(settings)
    }

    /// The same with these changes: `null` takes a setting away (RFC 7396).
    pub(crate) fn changed(&self, changes: Map<String, Value>) -> Result<Self, Refusal> {
        let mut map = self.0.clone();
        map.extend(changes);
        map.retain(|_, value| !value.is_null());
        Self::of(map)
    }

    pub(crate) fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}
