//! Upstreams that read a path more loosely than it is written: they fold its case, take
//! an extension off its end, or end it at a semicolon.
//!
//! The rule of the path as it is written decides as ever. Where such a reading leads to
//! another rule, that one must let the request pass, too: so a switch can close, and never
//! open anything.

use std::{borrow::Cow, sync::Arc};

use super::{
    asks::Asks,
    engine::Engine,
    host::NormalHost,
    identified::Identified,
    input::CheckInput,
    path::{BadPath, NormalPath},
    pattern::folded,
    place::{Place, Refused},
    policy::Found,
    reason::Reason,
    resource::Resource,
    rule::Rule,
};

/// A path as some upstream reads it, and what the rules say to that.
#[derive(Debug)]
pub(super) struct Also<'r, 'a> {
    pub(super) found: Found<'a>,
    /// Without its extension; in the case in which it came, for conditions.
    pub(super) path: Cow<'r, NormalPath<'r>>,
    /// What it is about.
    pub(super) resource: Option<&'a Arc<Resource>>,
}

impl Engine {
    /// What the rules say to other readings of a path than it is written in.
    ///
    /// # Errors
    ///
    /// [`BadPath`] when there are too many of them.
    pub(super) fn loosely<'r, 'a>(
        &'a self,
        host: &NormalHost<'_>,
        path: &'r NormalPath<'r>,
        input: &CheckInput<'_>,
        asks: Option<&Asks<'_, '_>>,
    ) -> Result<Vec<Also<'r, 'a>>, BadPath> {
        let mut also = Vec::new();
        let until = path.until_semicolon();
        if until.is_empty() && !self.ignore_extension && self.policy.folded().is_none() {
            return Ok(also);
        }
        let mut paths = vec![Cow::Borrowed(path)];
        paths.extend(until.into_iter().map(Cow::Owned));
        if self.ignore_extension {
            for at in 0..paths.len() {
                let cut = paths.get(at).map_or_else(|| Ok(Vec::new()), |it| it.without_extension());
                paths.extend(cut?.into_iter().map(Cow::Owned));
            }
        }
        let preflight_of = input.preflight_of();
        for (at, path) in paths.into_iter().enumerate() {
            for segments in path.readings() {
                if at > 0 {
                    let found =
                        self.policy.find_asked(host, segments, input.method, preflight_of, asks);
                    let resource = self.policy.resource(host, segments);
                    also.push(Also { found, path: path.clone(), resource });
                }
                let Some(policy) = self.policy.folded() else { continue };
                let one_case: Vec<_> =
                    segments.iter().map(|segment| Cow::Owned(folded(segment))).collect();
                let found = policy.find_asked(host, &one_case, input.method, preflight_of, asks);
                let found = self.policy.own(&found);
                // The folded rules guard what the rules themselves do.
                let resource = policy.resource(host, &one_case);
                also.push(Also { found, path: path.clone(), resource });
            }
        }
        Ok(also)
    }
}

impl<'a> Also<'_, 'a> {
    /// The rule that is for it.
    pub(super) fn rule(&self) -> Option<&'a Rule> {
        match self.found {
            Found::Rule(rule) | Found::Preflight(rule) => Some(rule),
            _ => None,
        }
    }

    /// What stands between the request at this place and such a reading of its path. A path
    /// that no rule is for guards nothing.
    pub(super) fn refusal(
        &self,
        at: &Place<'_, 'a>,
        identity: Option<&Result<Identified<'_>, Reason>>,
    ) -> Option<Refused> {
        match self.found {
            Found::Rule(rule) => Place { path: &self.path, ..*at }.refusal(rule, identity),
            _ => self.refuses_all().map(Refused::from),
        }
    }

    /// Why nobody passes whose path is read so, whoever they are.
    pub(super) fn refuses_all(&self) -> Option<Reason> {
        match self.found {
            Found::NoMethod => Some(Reason::Method),
            Found::NoOperation => Some(Reason::Operation),
            Found::Unclear(reason) => Some(reason),
            Found::Rule(_) | Found::Preflight(_) | Found::Nothing => None,
        }
    }
}
