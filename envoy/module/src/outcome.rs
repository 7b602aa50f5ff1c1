//! What a decision asks of Envoy, copied: with the first header that is changed, all that
//! was borrowed from the request is gone.

use portcullis::authz::{CheckInput, Decision, METADATA_NAMESPACE, Reason, SHADOW, Verdict};

use crate::{abi::Stream, query};

/// A decision, to be carried out.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `allow`, `deny` or `answer`.
    pub(crate) decision: &'static str,
    /// Of a denial; else empty.
    pub(crate) reason: &'static str,
    metadata: Vec<(&'static str, String)>,
    shadow: Vec<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    GoOn {
        set: Vec<(String, String)>,
        remove: Vec<String>,
        path: Option<String>,
        /// Of the answer.
        add: Vec<(&'static str, String)>,
    },
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
        details: String,
    },
}

/// What has come of it.
#[derive(Debug)]
pub(crate) enum Done {
    /// The request goes on; this is to be added to its answer.
    GoesOn(Vec<(&'static str, String)>),
    /// It has been answered.
    Answered,
    /// Envoy has not changed what it was told to: nobody knows what the request says now.
    Failed,
}

impl Outcome {
    /// What this decision about a request asks for.
    pub(crate) fn of(decision: &Decision<'_>, input: Option<&CheckInput<'_>>) -> Self {
        let path = input.map_or("", |input| input.path);
        // To look whether it is there costs less than to have Envoy take it off.
        let is_there = |name: &str| input.is_none_or(|input| input.headers.contains(name));
        let metadata = decision.metadata().into_iter();
        let metadata = metadata.filter_map(|(key, value)| Some((key, value?.into_owned())));
        let what = match &decision.verdict {
            Verdict::Allow(grant) => What::GoOn {
                set: grant
                    .set
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone()))
                    .collect(),
                remove: grant
                    .remove
                    .iter()
                    .filter(|name| is_there(name))
                    .map(|name| name.clone().into_owned())
                    .collect(),
                path: (!grant.remove_query.is_empty())
                    .then(|| query::without(path, &grant.remove_query)),
                add: grant.answer_headers().map(|(name, value)| (name, value.to_owned())).collect(),
            },
            Verdict::Deny(denial) => What::Answer {
                status: denial.status(),
                headers: owned(denial.headers()),
                body: denial.body(),
                details: format!("portcullis_{}", denial.reason.as_str()),
            },
            Verdict::Answer(answer) => What::Answer {
                status: answer.status,
                headers: owned(answer.headers.iter().map(|(name, value)| (*name, *value))),
                body: answer.body.to_owned(),
                details: "portcullis_answer".to_owned(),
            },
        };
        let shadow = decision.shadow.iter().map(|name| (*name).to_owned()).collect();
        let reason = decision.reason().map_or("", Reason::as_str);
        Self { decision: decision.name(), reason, metadata: metadata.collect(), shadow, what }
    }

    /// Has Envoy do it.
    pub(crate) fn carry_out(self, stream: &mut Stream<'_>) -> Done {
        if let What::GoOn { set, remove, path, .. } = &self.what {
            let path = path.iter().map(|path| (":path", path));
            let mut set = set.iter().map(|(name, value)| (name.as_str(), value)).chain(path);
            // Before anybody is told that it goes on.
            let is_done = set.all(|(name, value)| stream.set(name, value))
                && remove.iter().all(|name| stream.remove(name));
            if !is_done {
                return Done::Failed;
            }
        }
        stream.tell(METADATA_NAMESPACE, &self.metadata);
        for name in &self.shadow {
            stream.tell_one_more(METADATA_NAMESPACE, SHADOW, name);
        }
        match self.what {
            What::GoOn { add, .. } => Done::GoesOn(add),
            What::Answer { status, headers, body, details } => {
                stream.respond(status, &headers, &body, &details);
                Done::Answered
            }
        }
    }
}

fn owned<N: AsRef<str>, V: AsRef<str>>(
    headers: impl IntoIterator<Item = (N, V)>,
) -> Vec<(String, String)> {
    let headers = headers.into_iter();
    headers.map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned())).collect()
}
