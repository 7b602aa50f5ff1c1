//! `[ui]`: the pages for people.

use super::reader::Section;

/// `[ui]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UiConfig {
    /// Whether the sign-in page goes to the provider by itself.
    pub auto_redirect_to_sso: bool,
    /// Whether there are no pages; what pages elsewhere ask stays.
    pub admin_ui_disabled: bool,
}

impl UiConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let mut flag = |key| section.get(key, "true or false").unwrap_or(false);
        let config = Self {
            auto_redirect_to_sso: flag("auto_redirect_to_sso"),
            admin_ui_disabled: flag("admin_ui_disabled"),
        };
        section.finish();
        config
    }

    /// Warns of a page that goes to a provider where there is none.
    pub(super) fn check(self, root: &mut Section<'_>, has_sso: bool) {
        if self.auto_redirect_to_sso && !has_sso {
            root.table("ui").warn(
                "auto_redirect_to_sso",
                "there is no [sso] to go to",
                "give sso.issuer and sso.client_id, or write false",
            );
        }
    }
}
