//! What is told of cases that were tried: TAP (version 14) or `JUnit`.

use std::fmt::Write as _;

/// What came of a case.
pub(super) struct Outcome {
    pub(super) file: String,
    pub(super) name: String,
    /// What is not as expected; nothing when all is.
    pub(super) faults: Vec<String>,
}

/// How much of the rules the cases have reached.
pub(super) struct Coverage {
    pub(super) rules: usize,
    /// The rules that no case came to.
    pub(super) never: Vec<String>,
    /// The reasons that were met, in their order.
    pub(super) reasons: Vec<&'static str>,
}

impl Coverage {
    fn told(&self) -> Vec<String> {
        let reached = self.rules - self.never.len();
        let mut lines = vec![format!("rules reached: {reached} of {}", self.rules)];
        if !self.never.is_empty() {
            lines.push(format!("rules that no case reaches: {}", self.never.join(", ")));
        }
        if !self.reasons.is_empty() {
            lines.push(format!("reasons met: {}", self.reasons.join(", ")));
        }
        lines
    }
}

/// The Test Anything Protocol.
pub(super) fn tap(outcomes: &[Outcome], coverage: &Coverage) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", outcomes.len());
    for (at, Outcome { name, faults, .. }) in outcomes.iter().enumerate() {
        let not = if faults.is_empty() { "" } else { "not " };
        // A hash would begin a directive.
        let name = one_line(name).replace('#', "\\#");
        let _ = writeln!(text, "{not}ok {} - {name}", at + 1);
        if !faults.is_empty() {
            let _ = writeln!(text, "  ---\n  faults:");
            for fault in faults {
                let _ = writeln!(text, "    - {:?}", one_line(fault));
            }
            let _ = writeln!(text, "  ...");
        }
    }
    for line in coverage.told() {
        let _ = writeln!(text, "# {line}");
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
    let _ = writeln!(text, "# {} passed, {failed} failed", outcomes.len() - failed);
    text
}

/// The XML that CI systems read.
pub(super) fn junit(outcomes: &[Outcome], coverage: &Coverage) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"portcullis test\" tests=\"{}\" failures=\"{failed}\">\n",
        outcomes.len()
    );
    for Outcome { file, name, faults } in outcomes {
        let (file, name) = (escaped(file), escaped(name));
        let _ = write!(text, "  <testcase classname=\"{file}\" name=\"{name}\"");
        if faults.is_empty() {
            text.push_str("/>\n");
        } else {
            let faults = escaped(&faults.join("; "));
            let _ = writeln!(text, ">\n    <failure message=\"{faults}\"/>\n  </testcase>");
        }
    }
    let told = escaped(&coverage.told().join("\n"));
    let _ = writeln!(text, "  <system-out>{told}</system-out>\n</testsuite>");
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text as XML may hold it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
