//! One cookie among those of a request.

/// How the cookie of a session is written, but for its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieForm {
    /// Its whole name.
    pub name: String,
    /// Whether it goes over TLS alone.
    pub is_secure: bool,
    /// Its domain; none for the host alone.
    pub domain: Option<String>,
}

impl CookieForm {
    /// `Set-Cookie` for this token (RFC 6265, section 4.1). A browser keeps it until
    /// it is closed.
    #[must_use]
    pub fn set(&self, token: &str) -> String {
        // With room for all of it.
        let mut cookie = String::with_capacity(self.name.len() + token.len() + 128);
        for part in [&self.name, "=", token, "; Path=/; HttpOnly; SameSite=Lax"] {
            cookie.push_str(part);
        }
        if self.is_secure {
            cookie.push_str("; Secure");
        }
        if let Some(domain) = &self.domain {
            cookie.push_str("; Domain=");
            cookie.push_str(domain);
        }
        cookie
    }

    /// `Set-Cookie` that takes it away.
    #[must_use]
    pub fn end(&self) -> String {
        format!("{}; Max-Age=0", self.set(""))
    }
}

/// The cookie stands there more than once, or where servers cut differently.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// The value of the cookie of this name, in the lines of `Cookie`.
///
/// Cookies are separated by semicolons (RFC 6265, section 4.2.1), but some
/// servers cut at commas too, and some proxies join two lines by one. A
/// cookie that only such a server sees, or that has a comma in it, could be
/// read in two ways.
pub(crate) fn find<'a>(lines: &[&'a [u8]], name: &str) -> Result<Option<&'a [u8]>, Ambiguous> {
    let mut found = None;
    for line in lines {
        for pair in pairs(line) {
            if value_of(pair, name).is_none() && !hides(pair, name) {
                continue;
            }
            let value = value_of(pair, name).filter(|value| !value.contains(&b','));
            if value.is_none() || found.replace(value).is_some() {
                return Err(Ambiguous);
            }
        }
    }
    Ok(found.flatten())
}

/// The lines without that cookie: `None` when it is not among them.
pub(super) fn without(lines: &[&[u8]], name: &str) -> Option<Vec<u8>> {
    // Most requests have other cookies alone, and most names begin rarely.
    let may_hold = |line: &&[u8]| name.as_bytes().first().is_none_or(|first| line.contains(first));
    if !lines.iter().any(may_hold) {
        return None;
    }
    let is_it = |pair: &&[u8]| value_of(pair, name).is_some() || hides(pair, name);
    let all = || lines.iter().flat_map(|line| pairs(line)).filter(|pair| !pair.is_empty());
    if !all().any(|pair| is_it(&pair)) {
        return None;
    }
    let rest: Vec<&[u8]> = all().filter(|pair| !is_it(pair)).collect();
    Some(rest.join(&b"; "[..]))
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = pair.iter().position(|&byte| byte == b'=')?;
    let (key, value) = pair.split_at_checked(at)?;
    (key.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

/// Whether a server that cuts at commas finds the cookie in this pair.
fn hides(pair: &[u8], name: &str) -> bool {
    pair.contains(&b',')
        && pair.split(|&byte| byte == b',').skip(1).any(|part| value_of(part, name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_line(line: &str) -> Result<Option<&str>, Ambiguous> {
        find(&[line.as_bytes()], "token").map(|v| v.map(|v| std::str::from_utf8(v).unwrap()))
    }

    #[test]
    fn the_one_cookie_is_found() {
        assert_eq!(in_line("a=1; token=T; b=2"), Ok(Some("T")));
        assert_eq!(in_line("token=T"), Ok(Some("T")));
        assert_eq!(in_line("a=1;token=T=="), Ok(Some("T==")));
        assert_eq!(in_line("a=1; Token=T; token2=x; xtoken=y"), Ok(None));
        assert_eq!(in_line(""), Ok(None));
        assert_eq!(find(&[b"a=1", b"token=T"], "token"), Ok(Some(&b"T"[..])));
        // What others have in theirs is their own matter.
        assert_eq!(in_line("a=1,2; token=T; b=x,y=z"), Ok(Some("T")));
    }

    #[test]
    fn a_repeated_one_is_ambiguous_however_it_is_joined() {
        for line in [
            "token=A; token=B",
            "token=A; token=A",
            "token=A,token=B",
            "a=1,token=T",
            "token=A, b=2",
            "a=1, token=T; b=2",
        ] {
            assert_eq!(in_line(line), Err(Ambiguous), "{line}");
        }
        assert_eq!(find(&[b"token=A", b"token=B"], "token"), Err(Ambiguous));
    }

    #[test]
    fn taking_it_out_leaves_the_others() {
        let rest = |line: &str| {
            without(&[line.as_bytes()], "token").map(|v| String::from_utf8(v).unwrap())
        };
        assert_eq!(rest("a=1; token=T; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(rest("token=T").as_deref(), Some(""));
        assert_eq!(rest("token=A; x=1,token=B; b=2").as_deref(), Some("b=2"));
        assert_eq!(rest("a=1"), None);
        assert_eq!(rest("a=1,2; token=T").as_deref(), Some("a=1,2"));
    }
}
