//! The configuration of signing in: `[sso]`, and what returns to where.

use crate::config::{KEY, load};

#[test]
fn single_sign_on_needs_what_it_needs() {
    let problems = |toml: &str| {
        let problems = load(toml, &[KEY]).err();
        let keys = problems.unwrap_or_default().into_iter().map(|problem| problem.key);
        keys.collect::<Vec<String>>()
    };
    let whole = "[sso]\nissuer = \"https://idp.example.com\"\nclient_id = \"portcullis\"\n";
    assert_eq!(problems(whole), [""; 0]);
    assert_eq!(problems("[sso]\nclient_id = \"x\""), ["sso.issuer"]);
    assert_eq!(problems("[sso]\nlink_by_email = false"), ["sso.issuer", "sso.client_id"]);
    for (more, key) in [
        ("client_auth = \"jwt\"", "sso.client_auth"),
        ("scopes = [\"email\"]", "sso.scopes"),
        ("state_ttl = \"0s\"", "sso.state_ttl"),
        ("default_role = \"KING\"", "sso.default_role"),
        ("role_claim = \"g\"\nrole_map = { a = \"KING\" }", "sso.role_map"),
        ("client_secret = \"\"", "sso.client_secret"),
        ("client_secret = \"a\"\nclient_secret_file = \"b\"", "sso.client_secret"),
        ("state = \"fixed\"", "sso.state"),
    ] {
        assert_eq!(problems(&format!("{whole}{more}")), [key], "{more}");
    }
    for bad in ["ftp://idp", "https://a:b@idp", "https://idp?x", "idp"] {
        let toml = format!("[sso]\nissuer = \"{bad}\"\nclient_id = \"x\"");
        assert_eq!(problems(&toml), ["sso.issuer"], "{bad}");
    }
    for (key, bad) in [
        ("return_to_paths", "ui/login"),
        ("return_to_paths", "/ui/../x"),
        ("return_to_origins", "https://app.example.com/x"),
        ("return_to_origins", "app.example.com"),
    ] {
        assert_eq!(problems(&format!("login.{key} = [\"{bad}\"]")), [format!("login.{key}")]);
    }
    // Without TLS on the way to the provider, anybody is anybody.
    let warned = |toml: &str| {
        let config = load(toml, &[KEY]).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut keys: Vec<String> = config.warnings.into_iter().map(|w| w.key).collect();
        keys.retain(|key| key != "store");
        keys
    };
    assert_eq!(warned(whole), [""; 0]);
    assert_eq!(warned(&whole.replace("https", "http")), ["sso.issuer"]);
    assert_eq!(warned(&whole.replace("https://idp.example.com", "http://127.0.0.1:1")), [""; 0]);
    assert_eq!(warned(&format!("{whole}role_claim = \"groups\"")), ["sso.role_map"]);
    // An origin that the cookie does not reach would be led in circles.
    let origins = "login.return_to_origins = [\"https://app.example.com\", \"https://example.com\"]\n\
                   http.public_url = \"https://auth.example.com\"\n";
    let unreached = ["login.return_to_origins"; 2];
    assert_eq!(warned(origins), unreached);
    let domain = |domain: &str| format!("{origins}tokens.cookie.domain = \"{domain}\"\n");
    assert_eq!(warned(&domain("example.com")), [""; 0]);
    assert_eq!(warned(&domain("ample.com")), unreached);
    // Nor can anybody sign in at a control plane without TLS.
    let plane = "http.public_url = \"http://cp.example.com\"\n[[workers]]\nworker_id = \"eu\"\n\
                 name = \"Europe\"\nurl = \"https://eu.example.com\"\n";
    assert_eq!(warned(plane), ["http.public_url"]);
    assert_eq!(warned(&plane.replace("http://cp", "https://cp")), [""; 0]);
    // Nobody gets a role that there is not.
    let other =
        "identity.roles = [\"A\"]\nrules = [{ name = \"x\", path = \"/\", roles = [\"A\"] }]\n";
    let config = load(&format!("{other}{whole}"), &[KEY]).unwrap_or_else(|p| panic!("{p:?}"));
    assert_eq!(config.sso.unwrap().default_role, None);
}
