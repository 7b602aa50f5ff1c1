//! Signing in: accounts, codes, single sign-on, sessions, and their pages.

mod accounts;
mod at_home;
mod backchannel;
mod guessing;
pub(crate) mod pages;
mod pages_hurt;
mod pages_sessions;
mod session_day;
mod session_renewal;
pub(crate) mod sessions;
mod sessions_ended;
mod signin;
pub(crate) mod sso;
mod sso_forms;
mod sso_refused;
