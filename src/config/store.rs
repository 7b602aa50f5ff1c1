//! `[store]`: what replicas share, and where.

use std::time::Duration;

use super::reader::Section;
use crate::store::Target;

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where Redis is; `None` for the memory of this process.
    pub target: Option<Target>,
    /// What every key begins with.
    pub prefix: String,
    /// How long any call may take.
    pub timeout: Duration,
    /// Whether nobody is let in before the revocations are loaded.
    pub require_at_start: bool,
}

impl StoreConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        const KINDS: [&str; 4] = ["memory", "redis", "redis-cluster", "redis-sentinel"];
        let kind = section
            .parsed("kind", &format!("one of {}", KINDS.join(", ")), |kind| {
                KINDS.into_iter().find(|known| *known == kind)
            })
            .unwrap_or("memory");
        let url = section.text("url", "a URL such as \"rediss://:password@redis:6379\"");
        let list = "a list of URLs such as [\"redis://redis:6379\"]";
        let urls: Option<Vec<String>> = section.get("urls", list);
        let sentinels: Option<Vec<String>> = section.get("sentinels", list);
        let master = section.text("master", "the name that the sentinels watch the master under");
        let wanted: &[&str] = match kind {
            "redis" => &["url"],
            "redis-cluster" => &["urls"],
            "redis-sentinel" => &["sentinels", "master"],
            _ => &[],
        };
        for key in ["url", "urls", "sentinels", "master"] {
            match (wanted.contains(&key), section.has(key)) {
                (true, false) => {
                    let cause = format!("a store of kind {kind:?} needs it");
                    section.problem(key, cause, "say where Redis is");
                }
                (false, true) => {
                    let cause = format!("a store of kind {kind:?} does not have it");
                    section.problem(key, cause, "remove it, or change the kind");
                }
                _ => {}
            }
        }
        let target = match kind {
            "redis" => url.map(Target::Single),
            "redis-cluster" => urls.map(Target::Cluster),
            "redis-sentinel" => {
                sentinels.zip(master).map(|(urls, name)| Target::Sentinel(urls, name))
            }
            _ => None,
        };
        let timeout = section.duration("timeout");
        if timeout.is_zero() {
            section.problem(
                "timeout",
                "no call would succeed",
                "write a duration such as \"250ms\"",
            );
        }
        if let Some(target) = &target
            && crate::store::Store::redis(target, "", timeout, Duration::ZERO).is_err()
        {
            let cause = "an address of the store is not a Redis URL";
            section.problem("", cause, "write redis://host:6379, or rediss:// for TLS");
        }
        let config = Self {
            target,
            prefix: section.text("prefix", "a string").unwrap_or_default(),
            timeout,
            require_at_start: section.get("require_at_start", "true or false").unwrap_or(true),
        };
        section.finish();
        config
    }
}
