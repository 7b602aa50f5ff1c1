//! The type of a body (RFC 9110, section 8.3).

use super::Unclear;

/// What a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Media<'a> {
    Json,
    /// `multipart/form-data`, cut at this boundary.
    Form(&'a str),
}

impl<'a> Media<'a> {
    /// Reads a `Content-Type`: one that says what it says in one way.
    pub(super) fn read(content_type: &'a str) -> Result<Self, Unclear> {
        // A comma is what two headers are joined by.
        if content_type.contains(',') {
            return Err(Unclear::MediaType);
        }
        let mut parts = content_type.split(';').map(|part| part.trim_matches([' ', '\t']));
        let kind = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts
            .map(|part| part.split_once('=').ok_or(Unclear::MediaType))
            .collect::<Result<_, _>>()?;
        if kind.eq_ignore_ascii_case("application/json") {
            let is_utf8 = |(name, value): &(&str, &str)| {
                name.eq_ignore_ascii_case("charset")
                    && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            };
            let fits = parameters.len() <= 1 && parameters.iter().all(is_utf8);
            return if fits { Ok(Self::Json) } else { Err(Unclear::MediaType) };
        }
        match parameters.as_slice() {
            [(name, value)]
                if kind.eq_ignore_ascii_case("multipart/form-data")
                    && name.eq_ignore_ascii_case("boundary") =>
            {
                boundary(value).map(Self::Form).ok_or(Unclear::MediaType)
            }
            _ => Err(Unclear::MediaType),
        }
    }
}

/// A boundary of a token's characters alone: at others some readers end it where it is
/// not quoted (RFC 2046, section 5.1.1).
fn boundary(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text = quoted.unwrap_or(text);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+'".contains(&byte);
    ((1..=70).contains(&text.len()) && text.bytes().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_in_one_way() {
        for json in [
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert_eq!(Media::read(json), Ok(Media::Json), "{json}");
        }
        for form in ["multipart/form-data; boundary=a-b", "Multipart/Form-Data;Boundary=\"a-b\""] {
            assert_eq!(Media::read(form), Ok(Media::Form("a-b")), "{form}");
        }
        for bad in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json, text/plain",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=latin1",
            "application/json;",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=a/b",
            "multipart/form-data; boundary=\"a/b\"",
            "multipart/form-data; boundary=b\u{a0}",
            "multipart/form-data; boundary=\"a\\\"b\"",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/mixed; boundary=a",
        ] {
            assert_eq!(Media::read(bad), Err(Unclear::MediaType), "{bad}");
        }
    }
}
