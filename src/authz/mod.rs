//! The decision, without a byte of input or output.
//!
//! A transport makes a [`CheckInput`] of what it received and asks
//! [`Engine::decide`]. On the way to the [`Decision`] lie, in this order, the
//! normal form of the host and of the path ([`NormalHost`], [`NormalPath`]),
//! the rule ([`Policy`]), the credential ([`CredentialSettings`]), the token
//! ([`Verifier`](crate::token::Verifier)) or the key ([`ApiKeys`](crate::api_key::ApiKeys)), what the rule asks of it, up to its
//! [`Condition`](crate::condition::Condition), and the headers that are set and
//! removed ([`IdentitySettings`]).

mod asks;
mod carried;
mod cookie;
mod credential;
mod decide;
mod decision;
mod engine;
mod facts;
mod foreseen;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
mod identified;
mod identify;
mod identity;
mod input;
mod key_place;
mod loosely;
mod metadata;
mod origin;
mod path;
mod pattern;
mod place;
mod policy;
mod reason;
mod renewal;
mod resource;
mod rule;
mod sessions;
mod sign_in;
mod upgrade;

pub use asks::Asked;
pub use carried::CredentialKind;
pub use cookie::CookieForm;
pub(crate) use cookie::find as find_cookie;
pub use credential::{CredentialSettings, Forward, QueryOn};
pub use decision::{Decision, Denial, Grant, Principal, Verdict};
pub use engine::Engine;
pub use facts::{Notes, is_hidden_header};
pub use foreseen::{Foreseen, Known, Somebody};
pub use host::NormalHost;
pub use identified::{Identified, Proof};
pub use identity::{IdentityHeaders, IdentitySettings};
pub use input::{CheckInput, Header, Headers, Single, is_method};
pub use key_place::{ForeignPlace, KEY_HEADER, KeyPlaces};
pub use metadata::{METADATA_NAMESPACE, SHADOW};
pub use origin::Origin;
pub use path::{BadPath, MAX_PATH_BYTES, NormalPath, PathAllow};
pub use pattern::{HostPattern, PathPattern, PatternError, Segment};
pub use policy::{Found, Policy, PolicyError};
pub use reason::Reason;
pub use resource::{Answer, BadResource, Resource};
pub use rule::{Access, IssuedBy, Needs, Rule, Wants};
pub use sessions::Sessions;
pub use sign_in::SignIn;
pub use upgrade::Upgrades;
