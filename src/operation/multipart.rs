//! One field of a form (RFC 7578), where the form is of the plain kind that every
//! client sends and every reader reads alike.

use super::Unclear;

/// The most parts of a form.
const MAX_PARTS: usize = 64;

/// The field of this name: none where no part has it.
///
/// Readers differ about line ends, about what stands before the first part, and about
/// names in other spellings: all of that is refused.
pub(super) fn field<'a>(
    body: &'a [u8],
    boundary: &str,
    wanted: &str,
) -> Result<Option<&'a str>, Unclear> {
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(delimiter.as_bytes()).ok_or(Unclear::Form)?;
    let mut found = None;
    for _ in 0..MAX_PARTS {
        if let Some(end) = rest.strip_prefix(b"--") {
            let is_end = end.is_empty() || end == b"\r\n";
            return if is_end { Ok(found) } else { Err(Unclear::Form) };
        }
        let part = rest.strip_prefix(b"\r\n").ok_or(Unclear::Form)?;
        let at = find(part, delimiter.as_bytes()).ok_or(Unclear::Form)?;
        let (part, behind) = part.split_at_checked(at).ok_or(Unclear::Form)?;
        rest = behind.get(delimiter.len()..).ok_or(Unclear::Form)?;
        // A boundary that stands anywhere but at a line's beginning is one to some.
        let part = part.strip_suffix(b"\r\n").ok_or(Unclear::Form)?;
        let head_end = find(part, b"\r\n\r\n").ok_or(Unclear::Form)?;
        let (head, content) = part.split_at_checked(head_end).ok_or(Unclear::Form)?;
        let content = content.get(4..).ok_or(Unclear::Form)?;
        let (name, is_plain) = disposition(head)?;
        if name != wanted {
            // `model[]` and `model.x` are parts of it to some.
            let begin = name.trim().get(..wanted.len()).unwrap_or_default();
            let rest = name.trim().get(wanted.len()..).unwrap_or_default();
            let goes_on = rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
            if super::json::is_alike(name, wanted)
                || (super::json::is_alike(begin, wanted) && !goes_on)
            {
                return Err(Unclear::Form);
            }
            continue;
        }
        let text = std::str::from_utf8(content).map_err(|_| Unclear::Form)?;
        if !is_plain || found.replace(text).is_some() {
            return Err(Unclear::Form);
        }
    }
    Err(Unclear::Form)
}

/// The name of a part, and whether it is plain text: no file, and of no type of its own.
fn disposition(head: &[u8]) -> Result<(&str, bool), Unclear> {
    let head = std::str::from_utf8(head).map_err(|_| Unclear::Form)?;
    let mut name = None;
    let mut seen_type = false;
    for line in head.split("\r\n") {
        let (header, value) = line.split_once(": ").ok_or(Unclear::Form)?;
        if header.eq_ignore_ascii_case("content-disposition") && name.is_none() {
            name = Some(name_of(value).ok_or(Unclear::Form)?);
        } else if header.eq_ignore_ascii_case("content-type") && !seen_type {
            seen_type = true;
        } else {
            return Err(Unclear::Form);
        }
        if value.contains(['\r', '\n', '\0']) {
            return Err(Unclear::Form);
        }
    }
    name.map(|(name, is_file)| (name, !is_file && !seen_type)).ok_or(Unclear::Form)
}

/// `form-data; name="…"`, and a `filename="…"` behind it.
fn name_of(value: &str) -> Option<(&str, bool)> {
    let rest = value.strip_prefix("form-data; name=\"")?;
    let (name, rest) = rest.split_once('"')?;
    let is_plain = |text: &str| !text.chars().any(char::is_control) && !hides_name(text);
    if name.contains(['\\', '%']) || !is_plain(name) {
        return None;
    }
    if rest.is_empty() {
        return Some((name, false));
    }
    let file = rest.strip_prefix("; filename=\"")?.strip_suffix('"')?;
    (!file.contains(['"', '\\']) && is_plain(file)).then_some((name, true))
}

/// Whether a reader that cuts at semicolons, quoted or not, finds another name in this.
fn hides_name(text: &str) -> bool {
    text.split(';').skip(1).any(|parameter| {
        let key = parameter.split('=').next().unwrap_or_default();
        super::json::is_alike(key.trim().trim_end_matches('*'), "name")
    })
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(parts: &[(&str, &str)]) -> String {
        let part = |(head, content): &(&str, &str)| format!("--b\r\n{head}\r\n\r\n{content}\r\n");
        parts.iter().map(part).collect::<String>() + "--b--\r\n"
    }

    const MODEL: &str = "Content-Disposition: form-data; name=\"model\"";
    const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\
                        Content-Type: audio/mpeg";

    fn model(body: &str) -> Result<Option<&str>, Unclear> {
        field(body.as_bytes(), "b", "model")
    }

    #[test]
    fn the_one_field_is_found() {
        let whole = form(&[(FILE, "\u{0}\r\n\n--"), (MODEL, "whisper-1")]);
        assert_eq!(model(&whole), Ok(Some("whisper-1")));
        assert_eq!(model(&form(&[(FILE, "x")])), Ok(None));
        let other = MODEL.replace("model", "model_kind");
        assert_eq!(model(&form(&[(MODEL, "a"), (&other, "x")])), Ok(Some("a")));
        assert_eq!(model(whole.trim_end()), Ok(Some("whisper-1")));
        let file = FILE.replace("a.mp3", "a; part 1, or name.mp3");
        assert_eq!(model(&form(&[(&file, "x"), (MODEL, "a")])), Ok(Some("a")));
    }

    #[test]
    fn a_form_with_two_readings_is_refused() {
        let whole = form(&[(MODEL, "a")]);
        for bad in [
            String::new(),
            "--b--x".to_owned(),
            form(&[(MODEL, "a"), (MODEL, "a")]),
            form(&[(MODEL, "a"), (&MODEL.replace("model", "Model"), "b")]),
            form(&[(&MODEL.replace("model", "model "), "b")]),
            form(&[(&format!("{MODEL}; filename=\"x\""), "a")]),
            form(&[(&FILE.replace("a.mp3", "a; name=model"), "b"), (MODEL, "a")]),
            form(&[(&MODEL.replace("model", "x; Name*=utf-8''model"), "b"), (MODEL, "a")]),
            form(&[(&format!("{MODEL}\r\nContent-Type: text/plain; charset=utf-16"), "a")]),
            form(&[(MODEL, "a"), (&MODEL.replace("model", "model[]"), "b")]),
            form(&[(MODEL, "a"), (&MODEL.replace("model", "Model.x"), "b")]),
            form(&[(&MODEL.replace("name=\"model\"", "name=model"), "a")]),
            form(&[(&MODEL.replace("name=\"model\"", "name*=utf-8''model"), "a")]),
            form(&[(&MODEL.replace("model", "mo%64el"), "a")]),
            form(&[(&MODEL.replace("model", "mo\\del"), "a")]),
            form(&[(&format!("{MODEL}\r\nContent-Transfer-Encoding: base64"), "YQ==")]),
            form(&[(&format!("{MODEL}\r\n continued"), "a")]),
            form(&[(&format!("{MODEL}\r\n{MODEL}"), "a")]),
            form(&[
                (FILE, "x\n--b\nContent-Disposition: form-data; name=\"model\"\n\na"),
                (MODEL, "b"),
            ]),
            form(&[(FILE, "x--b"), (MODEL, "b")]),
            whole.replace("\r\n", "\n"),
            format!("preamble\r\n{whole}"),
            format!("{whole}epilogue"),
            whole.trim_end().trim_end_matches("--").to_owned(),
            whole.repeat(2),
        ] {
            assert_eq!(model(&bad), Err(Unclear::Form), "{bad:?}");
        }
        assert!(model(&form(&vec![(FILE, ""); MAX_PARTS])).is_err());
    }
}
