//! `[shadow]`: another configuration, which decides nothing.

use super::{Config, layers::Sources, reader::Section};

/// The configuration of the shadow: its file over all that there is. What is wrong
/// with it is a problem, as it would be one in force.
pub(super) fn read(
    mut section: Section<'_>,
    sources: &Sources,
    is_wanted: bool,
) -> Option<Box<Config>> {
    // A shadow has none, and neither has an upstream that checks once more.
    if !is_wanted || sources.is_for_upstream() {
        return None;
    }
    let file = section.path("file");
    if file.is_none() && section.is_any_set() && !section.has("file") {
        section.problem("file", "it is missing", "name the file of the rules to try");
    }
    let loaded = file.map(|file| (Config::load_shadow(&sources.with_file(&file)), file));
    let config = match loaded {
        None => None,
        Some((Ok(config), _)) => {
            config.files.iter().for_each(|seen| section.reads(seen.path()));
            Some(Box::new(config))
        }
        Some((Err(problems), file)) => {
            section.reads(&file);
            problems.files.iter().for_each(|seen| section.reads(seen.path()));
            for problem in problems.problems {
                let cause = format!("{}: {problem}", file.display());
                section.problem("file", cause, "correct the file, or remove [shadow]");
            }
            None
        }
    };
    section.finish();
    config
}
