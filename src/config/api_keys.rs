//! `[api_keys]`: keys for machines, and where requests carry them.

use std::{path::PathBuf, sync::Arc};

use super::reader::Section;
use crate::{
    api_key::{Foreign, KeyTable, PREFIX, keys_of_file},
    authz::{ForeignPlace, KEY_HEADER, KeyPlaces},
    token::Roles,
};

/// The most that a file of keys may hold, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// The shortest beginning of foreign keys, in bytes: a shorter one would take
/// tokens for keys.
const MIN_PREFIX_BYTES: usize = 3;
/// Headers that say something else.
const NOT_FOR_KEYS: [&str; 6] = ["host", "cookie", "connection", "upgrade", "origin", "referer"];
/// What tokens begin with.
const TOKEN_PREFIX: &str = "eyJ";

/// `[api_keys]`.
#[derive(Debug)]
pub struct ApiKeysConfig {
    /// Where requests carry them.
    pub places: KeyPlaces,
    /// Where the file is.
    pub path: Option<PathBuf>,
    /// The keys of the file.
    pub file: Arc<KeyTable>,
    /// Keys of somebody else's making.
    pub foreign: Option<Foreign>,
}

/// Reads the table; `None` where there is none, and where there was a problem.
pub(super) fn read(root: &mut Section<'_>, roles: Option<&Roles>) -> Option<ApiKeysConfig> {
    if !root.has("api_keys") {
        // Not unknown, though.
        root.table("api_keys").finish();
        return None;
    }
    let mut section = root.table("api_keys");
    let mut places = places(&mut section);
    let path = section.path("file");
    let is_role = |name: &str| roles.is_some_and(|roles| roles.get(name).is_some());
    let file = match &path {
        None => Some(KeyTable::default()),
        Some(path) => section.text_of_file("file", path, MAX_FILE_BYTES).and_then(|text| {
            let problem = |cause: String| {
                let fix = "correct the file; `portcullis key new --file` writes an entry";
                section.problem("file", format!("{}: {cause}", path.display()), fix);
            };
            let keys = keys_of_file(&text, is_role);
            keys.map_err(|causes| causes.into_iter().for_each(problem)).ok()
        }),
    };
    let foreign = if section.has("foreign") {
        Some(foreign(section.table("foreign"), is_role))
    } else {
        section.table("foreign").finish();
        None
    };
    section.finish();
    let foreign = match foreign {
        None => None,
        // What is wrong with it has been told.
        Some(foreign) => {
            let (place, keys) = foreign?;
            places.foreign = Some(place);
            Some(keys)
        }
    };
    Some(ApiKeysConfig { places, path, file: Arc::new(file?), foreign })
}

fn places(section: &mut Section<'_>) -> KeyPlaces {
    const EXPECTED: &str = "\"x-api-key\", \"bearer\" or \"basic\"";
    if !section.has("accept") {
        return KeyPlaces { header: true, bearer: true, basic: true, foreign: None };
    }
    let known = |text: &str| match text {
        KEY_HEADER => Some(0),
        "bearer" => Some(1),
        "basic" => Some(2),
        _ => None,
    };
    let accepted = section.parsed_list("accept", EXPECTED, known);
    if accepted.is_empty() {
        let fix = "name a place, or remove [api_keys]";
        section.problem("accept", "no place is listed, so no key would be accepted", fix);
    }
    let has = |place: i32| accepted.contains(&place);
    KeyPlaces { header: has(0), bearer: has(1), basic: has(2), foreign: None }
}

fn foreign(
    mut section: Section<'_>,
    is_role: impl Fn(&str) -> bool,
) -> Option<(ForeignPlace, Foreign)> {
    let header =
        section.parsed("header", "the name of a header, such as \"authorization\"", |text| {
            let name = text.to_ascii_lowercase();
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            let is_taken = NOT_FOR_KEYS.contains(&&*name)
                || ["x-user-", "x-original-", "x-forwarded-"].iter().any(|it| name.starts_with(it));
            (!name.is_empty() && name.bytes().all(is_name) && !is_taken).then_some(name)
        });
    let prefix = section.parsed(
        "prefix",
        "what each key begins with, such as \"sk-\"; at least three characters, and not \"eyJ\" \
         or \"pck_\"",
        |text| {
            let fits = text.len() >= MIN_PREFIX_BYTES
                && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
                && !text.starts_with(TOKEN_PREFIX)
                && !text.starts_with(PREFIX)
                && !PREFIX.starts_with(text);
            fits.then(|| text.to_owned())
        },
    );
    for key in ["header", "prefix", "sha256_file"] {
        if !section.has(key) {
            let fix = "write { header = \"authorization\", prefix = \"sk-\", sha256_file = \"…\" }";
            section.problem(key, "it is missing", fix);
        }
    }
    let path = section.path("sha256_file");
    let text =
        path.as_ref().and_then(|path| section.text_of_file("sha256_file", path, MAX_FILE_BYTES));
    let keys = text.zip(path).and_then(|(text, path)| {
        let keys = Foreign::parse(&text, is_role).map_err(|causes| {
            for cause in causes {
                let cause = format!("{}: {cause}", path.display());
                section.problem("sha256_file", cause, "write a line \"sha256-hex user_id role\"");
            }
        });
        keys.ok()
    });
    section.finish();
    Some((ForeignPlace { header: header?, prefix: prefix? }, keys?))
}
