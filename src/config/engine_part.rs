//! What of a configuration is for an engine in another process, which serves nobody.

use figment::value::{Dict, Value};

/// What an engine has no use for: what other parts of the service keep, and their
/// secrets. Without a key, the whole table.
const OF_OTHERS: [(&str, &str); 8] = [
    ("check", "tls"),
    ("feed", ""),
    ("http", "tls"),
    ("login", "users_file"),
    ("sso", "client_secret"),
    ("sso", "client_secret_file"),
    ("store", ""),
    ("telemetry", "otlp_endpoint"),
];

/// A table without what is of no use for an engine.
pub(super) fn kept_engine(mut dict: Dict) -> Dict {
    keep_engine(&mut dict);
    dict
}

/// Takes off what is of no use for an engine.
pub(super) fn keep_engine(dict: &mut Dict) {
    for (table, key) in OF_OTHERS {
        if key.is_empty() {
            dict.remove(table);
        } else if let Some(Value::Dict(_, dict)) = dict.get_mut(table) {
            dict.remove(key);
        }
    }
}
