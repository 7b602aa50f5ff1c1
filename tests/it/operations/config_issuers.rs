//! `[[issuers]]`, own key pairs and `forward = "minted"`: what can be said, and
//! what is refused, each with its key and its fix. And what the command line
//! makes of them. Over 400 lines, since most of them are tables over one entry.

use std::path::Path;

use aws_lc_rs::{
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use serde_json::json;

use crate::{
    jwt,
    support::{output, portcullis},
};

/// An entry with all that it has to have, and these lines.
fn issuer(more: &str) -> String {
    format!(
        "[[issuers]]\nname = \"acme\"\nissuer = \"https://idp.example.com\"\n\
         audience = [\"https://api.example.com\"]\n{more}\n"
    )
}

/// The exit code of a command on this file, and all that it says.
fn run(file: &Path, secret: bool, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = portcullis();
    command.args(arguments).arg("--config").arg(file);
    if !secret {
        command.env_remove("AUTH_JWT_SECRET");
    }
    let done = output(&mut command, "");
    (done.status.code(), String::from_utf8([done.stderr, done.stdout].concat()).unwrap())
}

fn check_in(room: &Path, toml: &str, secret: bool) -> (Option<i32>, String) {
    let file = room.join("portcullis.toml");
    std::fs::write(&file, toml).unwrap();
    run(&file, secret, &["check-config"])
}

fn check(toml: &str) -> (Option<i32>, String) {
    check_in(tempfile::tempdir().unwrap().path(), toml, true)
}

/// A private key in PEM, made by the command line.
fn pem(room: &Path, name: &str, algorithm: &str) {
    let made = output(portcullis().args(["key-pair", "--alg", algorithm]), "");
    assert!(made.status.success());
    std::fs::write(room.join(name), made.stdout).unwrap();
}

#[test]
fn an_issuer_can_be_described_in_every_way() {
    for fine in [
        String::new(),
        issuer(""),
        issuer("algorithms = [\"PS512\", \"ES384\", \"EdDSA\"]\ntyp = [\"application/at+JWT\"]"),
        issuer("claims = { id = \"oid\", role = \"https://example.com/roles\" }"),
        issuer("role_map = { staff = \"REGULAR\" }\ndefault_role = \"RESTRICTED\""),
        issuer("jwks_uri = \"https://keys.example.com/x\"\nrefresh = \"10m\"\nstale_for = \"10m\""),
        issuer("").replace("https://idp.example.com", "http://127.0.0.1:1"),
        issuer("insecure_http = true").replace("https:", "http:"),
        issuer("jwks_uri = \"https://idp.example.com/keys\"")
            .replace("\"https://idp.example.com\"", "\"acme\""),
        format!("{}{}", issuer(""), issuer("").replace("acme", "b").replace("idp", "b")),
    ] {
        let (code, said) = check(&fine);
        assert_eq!((code, said.as_str()), (Some(0), "ok\n"), "{fine}");
    }
    let keys = format!(
        "[[issuers]]\nname = \"litellm\"\nkeys = [{{ kid = \"a\", secret = {:?} }}]\n\
         claims = {{ id = \"user_id\", role = \"user_role\" }}\n",
        "another-secret-of-at-least-32-bytes"
    );
    let (code, said) = check(&format!("tokens.issuer = \"own\"\n{keys}"));
    assert_eq!((code, said.as_str()), (Some(0), "ok\n"));
    // Both kinds of tokens would have no `iss`.
    let (code, said) = check(&keys);
    assert_eq!(code, Some(0));
    assert!(said.contains("tokens without iss count as those of \"litellm\""), "{said}");
}

#[test]
fn what_cannot_be_meant_of_an_issuer_is_a_problem_with_its_key_and_fix() {
    for (toml, key, cause) in [
        (issuer("").replace("name = \"acme\"\n", ""), "issuers[0].name", "has no name"),
        (issuer("").replace("acme", "own"), "issuers[0].name", "\"own\" is not accepted here"),
        (issuer("").replace("acme", "sso"), "issuers[0].name", "\"sso\" is not accepted here"),
        (issuer("").replace("acme", "a/b"), "issuers[0].name", "is not accepted here"),
        (issuer("id_prefix = \"sso:\""), "issuers[0].id_prefix", "guests from single sign-on"),
        (
            issuer("").replace("issuer = \"https://idp.example.com\"\n", ""),
            "issuers[0].issuer",
            "has no iss",
        ),
        (
            issuer("").replace("audience = [\"https://api.example.com\"]", ""),
            "issuers[0].audience",
            "any other service",
        ),
        (
            issuer("").replace("https://idp", "http://idp"),
            "issuers[0].issuer",
            "sign in as any user",
        ),
        (issuer("").replace("https://idp.example.com", "acme"), "issuers[0].issuer", "not a URL"),
        (
            issuer("jwks_uri = \"http://idp.example.com/\""),
            "issuers[0].jwks_uri",
            "sign in as any user",
        ),
        (
            issuer("jwks_uri = \"ftp://idp.example.com/\""),
            "issuers[0].jwks_uri",
            "sign in as any user",
        ),
        (
            issuer("jwks_uri = \"https://a\"\njwks_file = \"b\""),
            "issuers[0]",
            "jwks_uri and jwks_file",
        ),
        (issuer("jwks_file = \"none.json\""), "issuers[0].jwks_file", "cannot be read"),
        (issuer("keys = []"), "issuers[0].keys", "the list is empty"),
        (issuer("keys = [{ secret = \"short\" }]"), "issuers[0].keys[0]", "HS256 needs at least"),
        (
            issuer("algorithms = [\"HS256\"]"),
            "issuers[0].algorithms",
            "\"HS256\" is not accepted here",
        ),
        (
            issuer("algorithms = [\"none\"]"),
            "issuers[0].algorithms",
            "\"none\" is not accepted here",
        ),
        (issuer("algorithms = []"), "issuers[0].algorithms", "no token would be accepted"),
        (
            issuer(
                "keys = [{ secret = \"another-secret-of-at-least-32-bytes\" }]\nalgorithms = [\"RS256\"]",
            ),
            "issuers[0].algorithms",
            "\"RS256\" is not accepted here",
        ),
        (
            issuer("role_map = { staff = \"ROOT\" }"),
            "issuers[0].role_map",
            "not one of identity.roles",
        ),
        (issuer("default_role = \"ROOT\""), "issuers[0].default_role", "not one of identity.roles"),
        (issuer("claims = { id = \"\" }"), "issuers[0].claims.id", "is not accepted here"),
        (issuer("claims = { ids = \"sub\" }"), "issuers[0].claims.ids", "no such key"),
        (
            issuer("refresh = \"2h\"\nstale_for = \"1h\""),
            "issuers[0].stale_for",
            "expire before they are fetched again",
        ),
        (issuer("refresh = \"0s\""), "issuers[0].refresh", "it is zero"),
        (
            issuer("max_lifetime = \"soon\""),
            "issuers[0].max_lifetime",
            "\"soon\" is not accepted here",
        ),
        (issuer("ca_file = \"none.pem\""), "issuers[0].ca_file", "cannot be read"),
        (issuer("jwks = \"x\""), "issuers[0].jwks", "no such key"),
        (
            format!("{}{}", issuer(""), issuer("").replace("idp", "b")),
            "issuers",
            "two issuers have the name",
        ),
        (
            format!("{}{}", issuer(""), issuer("").replace("acme", "b")),
            "issuers",
            "two issuers have the iss",
        ),
        (
            format!("tokens.issuer = \"https://idp.example.com\"\n{}", issuer("")),
            "issuers",
            "two issuers have the iss",
        ),
    ] {
        let (code, said) = check(&toml);
        assert_eq!(code, Some(2), "{toml}\n{said}");
        let told = said.lines().find(|line| line.contains(cause));
        let told = told.unwrap_or_else(|| panic!("{toml}\n{said}"));
        assert!(told.starts_with(&format!("error: {key}")), "{said}");
        assert!(!said.contains("another-secret"), "{said}");
    }
}

#[test]
fn what_may_not_be_meant_of_an_issuer_is_a_warning() {
    for (toml, told) in [
        (issuer("id_prefix = \"\""), "the user with the same id of another"),
        (
            format!(
                "{}{}",
                issuer(""),
                issuer("id_prefix = \"acme:b:\"").replace("acme\"", "b\"").replace("idp", "b")
            ),
            "can be the same as one of another issuer",
        ),
    ] {
        let (code, said) = check(&toml);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(told) && said.contains("warning: issuers"), "{said}");
    }
}

#[test]
fn an_issuer_alone_needs_no_key_of_ones_own_and_sign_in_does() {
    let room = tempfile::tempdir().unwrap();
    let (code, said) = check_in(room.path(), &issuer(""), false);
    assert_eq!((code, said.as_str()), (Some(0), "ok\n"));
    let (code, said) = check_in(room.path(), "", false);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no key to verify tokens with"), "{said}");
    std::fs::write(room.path().join("users.toml"), "").unwrap();
    let signs_in = format!("login.users_file = \"users.toml\"\n{}", issuer(""));
    let (code, said) = check_in(room.path(), &signs_in, false);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no key to sign their tokens with"), "{said}");
}

#[test]
fn a_key_pair_is_a_private_key_of_p_256_or_ed25519_with_a_kid() {
    let room = tempfile::tempdir().unwrap();
    pem(room.path(), "es256.pem", "ES256");
    pem(room.path(), "ed25519.pem", "eddsa");
    std::fs::write(room.path().join("junk.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    std::fs::write(room.path().join("p384.pem"), p384.serialize_pem()).unwrap();
    let keys = |keys: &str| check_in(room.path(), &format!("tokens.keys = [{keys}]"), true);
    let pair = |kid: &str, file: &str| format!("{{ kid = {kid:?}, private_key_file = {file:?} }}");

    let both = format!("{}, {}", pair("a", "es256.pem"), pair("b", "ed25519.pem"));
    assert_eq!(keys(&both), (Some(0), "ok\n".to_owned()));
    for (given, told) in [
        (pair("a", "junk.pem"), "not a private key of P-256 or Ed25519"),
        (pair("a", "p384.pem"), "not a private key of P-256 or Ed25519"),
        (pair("a", "none.pem"), "cannot be read"),
        (pair("", "es256.pem"), "write a name"),
        ("{ private_key_file = \"es256.pem\" }".to_owned(), "the key has no kid"),
        (format!("{}, {}", pair("a", "es256.pem"), pair("a", "ed25519.pem")), "used twice"),
        ("{ kid = \"a\" }".to_owned(), "the key has no secret"),
    ] {
        let (code, said) = keys(&given);
        assert_eq!(code, Some(2), "{given}: {said}");
        assert!(said.contains(told) && said.contains("fix: "), "{given}: {said}");
    }
    // A new one that signs at once is known to nobody yet.
    let (code, said) = keys(&pair("a", "es256.pem"));
    assert_eq!(code, Some(0));
    assert!(said.contains("the first key is new"), "{said}");
    let file = std::fs::File::options().append(true).open(room.path().join("es256.pem")).unwrap();
    let made = file.metadata().unwrap().modified().unwrap();
    file.set_modified(made - std::time::Duration::from_secs(2 * 3600)).unwrap();
    assert_eq!(keys(&pair("a", "es256.pem")), (Some(0), "ok\n".to_owned()));
}

#[test]
fn tokens_for_upstreams_need_a_key_that_these_can_verify_by() {
    let room = tempfile::tempdir().unwrap();
    pem(room.path(), "es256.pem", "ES256");
    let rule = "[[rules]]\nname = \"a\"\npath = \"/\"\naccess = \"authenticated\"\n";
    let keys = "tokens.keys = [{ secret = \"another-secret-of-at-least-32-bytes\" }, { kid = \"a\", private_key_file = \"es256.pem\" }]\n";
    for (forward, of_rule) in [
        ("tokens.forward = \"minted\"", ""),
        ("tokens.forward = { minted = { audience = \"https://tools.internal\" } }", ""),
        ("", "forward = { minted = { audience = \"https://tools.internal\" } }"),
        ("", "forward = \"minted\""),
    ] {
        let public = "http.public_url = \"https://gw.example.com\"\n";
        let toml = |keys: &str| format!("{keys}{public}{forward}\n{rule}{of_rule}");
        let (code, said) = check_in(room.path(), &toml(keys), true);
        assert_eq!((code, said.as_str()), (Some(0), "ok\n"));
        let (code, said) = check_in(room.path(), &toml(""), true);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("portcullis key-pair"), "{said}");
    }
    // One issuer and one audience for two kinds of tokens; an issuer that is
    // nobody else; an address that is nobody's.
    let public = "http.public_url = \"https://gw.example.com\"\n";
    let mints = format!("{keys}{public}tokens.forward = \"minted\"\n");
    let own = "tokens.issuer = \"https://gw.example.com\"\n\
               tokens.audience = \"https://gw.example.com\"";
    let (code, said) = check_in(room.path(), &format!("{mints}{own}"), true);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the same issuer and audience"), "{said}");
    let own = issuer("").replace("idp.example.com", "gw.example.com");
    let (code, said) = check_in(room.path(), &format!("{mints}{own}"), true);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("\"acme\" is this service itself"), "{said}");
    let (code, said) = check_in(room.path(), &format!("{keys}tokens.forward = \"minted\""), true);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("set http.public_url"), "{said}");

    for bad in
        ["\"mint\"", "{ minted = {} }", "{ minted = { audience = \"\" } }", "{ none = 1 }", "1"]
    {
        for toml in
            [format!("{keys}tokens.forward = {bad}"), format!("{keys}{rule}forward = {bad}")]
        {
            let (code, said) = check_in(room.path(), &toml, true);
            assert_eq!(code, Some(2), "{toml}");
            assert!(said.contains("forward") && said.contains("fix: write"), "{said}");
        }
    }
}

/// An RSA key as a private JSON Web Key, and the set that its issuer publishes.
fn write_rsa(room: &Path, kid: &str) {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(&pair).unwrap();
    // The integers of PKCS #1, in their order (RFC 8017, appendix A.1.2).
    let numbers = integers(pkcs8.as_ref());
    let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
    let mut private = json!({ "kty": "RSA", "kid": kid, "alg": "RS256" });
    for (name, number) in names.iter().zip(&numbers[1..]) {
        private[*name] = json!(URL_SAFE_NO_PAD.encode(number));
    }
    let public = pair.public_key();
    let b64 = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    let set = json!({ "keys": [{
        "kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig",
        "n": b64(public.modulus().big_endian_without_leading_zero()),
        "e": b64(public.exponent().big_endian_without_leading_zero()),
    }] });
    std::fs::write(room.join("private.jwk.json"), private.to_string()).unwrap();
    std::fs::write(room.join("acme.jwks.json"), set.to_string()).unwrap();
}

/// The integers of the innermost sequence of a PKCS #8 key, without their zeros.
fn integers(der: &[u8]) -> Vec<Vec<u8>> {
    // What is within the octet string, behind its own header.
    let at = der.windows(2).position(|two| two == [0x04, 0x82]).unwrap();
    let (mut rest, mut numbers) = (&der[at + 8..], Vec::new());
    while let [0x02, length, tail @ ..] = rest {
        let (length, tail) = match length {
            0x81 => (usize::from(tail[0]), &tail[1..]),
            0x82 => (usize::from(tail[0]) << 8 | usize::from(tail[1]), &tail[2..]),
            short => (usize::from(*short), tail),
        };
        let (number, tail) = tail.split_at(length);
        numbers.push(number.iter().copied().skip_while(|byte| *byte == 0).collect());
        rest = tail;
    }
    numbers
}

#[test]
fn a_token_is_made_as_an_issuer_would_and_looked_into() {
    let room = tempfile::tempdir().unwrap();
    write_rsa(room.path(), "k1");
    let file = room.path().join("portcullis.toml");
    let toml = issuer("jwks_file = \"acme.jwks.json\"\nrole_map = { staff = \"REGULAR\" }");
    std::fs::write(&file, toml).unwrap();
    let jwk = room.path().join("private.jwk.json");
    let mint = |more: &[&str]| {
        let arguments = ["token", "mint", "--name", "ann", "--user-id", "7", "--role", "staff"];
        let key = ["--issuer-file", jwk.to_str().unwrap()];
        run(&file, true, &[&arguments[..], &key[..], more].concat())
    };
    let (code, token) = mint(&["--email", "ann@example.com"]);
    assert_eq!(code, Some(0), "{token}");
    let token = token.trim();
    let (code, said) = run(&file, true, &["token", "inspect", token]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("issuer  acme\naccepted"), "{said}");
    let bearer = format!("authorization: Bearer {token}");
    let (code, said) = run(&file, true, &["explain", "-H", &bearer, "/api/agents"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ann (id acme:7, REGULAR)\nissuer   acme\n"), "{said}");
    assert!(said.contains("x-user-email: ann@example.com"), "{said}");

    for (more, reason) in [
        (&["--claim", "aud=https://other.example.com"][..], "bad_audience"),
        (&["--claim", "iss=https://other.example.com"], "unknown_issuer"),
        (&["--claim", "exp=1"], "expired"),
        (&["--claim", "events={}"], "bad_claim"),
        (&["--claim", "at_hash=x"], "bad_claim"),
        (&["--claim", "realm_access=1", "--claim", "realm_access={\"roles\":1}"], "bad_claim"),
    ] {
        let (_, token) = mint(more);
        let (code, said) = run(&file, true, &["token", "inspect", token.trim()]);
        assert_eq!(code, Some(1), "{more:?}: {said}");
        assert!(said.contains(&format!("({reason})")), "{more:?}: {said}");
    }
    // Whoever has no own tokens makes and takes none.
    let own = jwt::token(&jwt::claims(1_800_000_000));
    let (code, said) = run(&file, false, &["token", "inspect", &own]);
    assert_eq!(code, Some(1));
    assert!(said.contains("(unknown_issuer)"), "{said}");
    let arguments = ["token", "mint", "--name", "a", "--user-id", "1", "--role", "ADMIN"];
    let (code, said) = run(&file, false, &arguments);
    assert_eq!(code, Some(2));
    assert!(said.contains("there is no key to sign it with"), "{said}");
    // A key that cannot be one.
    let public = room.path().join("acme.jwks.json");
    let key = ["--issuer-file", public.to_str().unwrap()];
    let (code, said) = run(&file, true, &[&arguments[..], &key[..]].concat());
    assert_eq!(code, Some(2));
    assert!(said.contains("--issuer-file") && said.contains("fix: name a private"), "{said}");
}

#[test]
fn a_set_in_a_file_is_held_to_what_a_fetched_one_is() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("acme.jwks.json");
    let check = || check_in(room.path(), &issuer("jwks_file = \"acme.jwks.json\""), true);
    write_rsa(room.path(), "k1");
    assert_eq!(check(), (Some(0), "ok\n".to_owned()));
    for (text, told) in [
        ("", "no JSON Web Key Set"),
        ("<html>", "no JSON Web Key Set"),
        ("{}", "no JSON Web Key Set"),
        ("{\"keys\":[]}", "no key for the algorithms"),
        ("{\"keys\":[],\"keys\":[]}", "no JSON Web Key Set"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, said) = check();
        assert_eq!(code, Some(2), "{text}");
        assert!(said.contains(told), "{text}: {said}");
    }
    // The private one is left out, and is the only one.
    std::fs::copy(room.path().join("private.jwk.json"), &file).unwrap();
    let private = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{{\"keys\":[{private}]}}")).unwrap();
    assert_eq!(check().0, Some(2));
}
