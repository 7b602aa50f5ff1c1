//! An issuer over TLS, which is another portcullis: its certificate is of an
//! operator's own authority.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    issuer::{AUDIENCE, Asker, RULE},
    mount::Mount,
    pki::Authority,
    replica::Replica,
    support::{minted, output, portcullis},
};

/// A portcullis whose tokens others can verify.
struct Issuer {
    replica: Replica,
    token: String,
    mount: Mount,
}

fn stdout(arguments: &[&str]) -> String {
    let said = output(portcullis().args(arguments), "");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

impl Issuer {
    async fn start(ca: &Authority) -> Self {
        let own = ca.issue(1, 2099);
        let toml = format!(
            "http.tls = {{ cert_file = \"tls.crt\", key_file = \"tls.key\" }}\n\
             http.public_url = \"https://localhost\"\ntokens.issuer = \"https://localhost\"\n\
             tokens.audience = \"{AUDIENCE}\"\n\
             tokens.keys = [{{ kid = \"es\", private_key_file = \"es.pem\" }}]\n{RULE}"
        );
        let key = stdout(&["key-pair"]);
        let mount = Mount::new(&[
            ("portcullis.toml", toml.as_str()),
            ("tls.crt", &own.certificate),
            ("tls.key", &own.key),
            ("es.pem", &key),
            ("ca.crt", &ca.pem()),
        ]);
        let config = mount.file("portcullis.toml");
        let replica = Replica::serving(&config).ready().await;
        let token = minted("REGULAR", Some(&config));
        Self { replica, token, mount }
    }

    fn jwks_uri(&self) -> String {
        format!("https://localhost:{}/.well-known/jwks.json", self.replica.http.port())
    }

    /// A configuration that trusts its tokens, and this authority.
    fn trusted(&self, authority: Option<&Path>) -> String {
        let authority =
            authority.map(|file| format!("ca_file = \"{}\"\n", file.display())).unwrap_or_default();
        format!(
            "[[issuers]]\nname = \"home\"\nissuer = \"https://localhost\"\n\
             jwks_uri = \"{}\"\naudience = [\"{AUDIENCE}\"]\n{authority}\
             claims = {{ id = \"userId\", name = \"sub\", role = \"role\" }}\n{RULE}",
            self.jwks_uri()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_of_a_private_authority_is_known_by_its_ca_file_alone() {
    let (ca, other) = (Authority::new("ours"), Authority::new("another"));
    let issuer = Issuer::start(&ca).await;
    let wrong = issuer.mount.file("wrong.crt");
    std::fs::write(&wrong, other.pem()).unwrap();
    let right = issuer.mount.file("ca.crt");
    for authority in [None, Some(&*wrong)] {
        let replica = Replica::start_with(&issuer.trusted(authority)).ready().await;
        let denied = Asker::of(&replica).await.ask(&issuer.token).await;
        assert_eq!(denied, (503, "issuer_unavailable".into()));
        let told = replica.complaints("home");
        assert!(told.len() == 1 && told[0].contains("invalid peer certificate"), "{told:?}");
    }
    let replica = Replica::start_with(&issuer.trusted(Some(&right))).ready().await;
    assert_eq!(Asker::of(&replica).await.reason(&issuer.token).await, "");
    assert_eq!((replica.keys("home").await, replica.complaints("home").len()), (1, 0));
}

/// A proxy that joins whom it is asked to (RFC 9110, section 9.3.6); its
/// address, and how often it was asked for this one.
async fn proxy(wanted: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::<AtomicUsize>::default();
    let asked = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut client = BufReader::new(stream);
            let (mut head, mut line) = (String::new(), String::new());
            while line != "\r\n" {
                line.clear();
                client.read_line(&mut line).await.unwrap();
                head.push_str(&line);
            }
            if !head.starts_with(&format!("CONNECT {wanted} ")) {
                continue;
            }
            asked.fetch_add(1, Ordering::Relaxed);
            let mut server = TcpStream::connect(&wanted).await.unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_is_asked_through_the_proxy_of_the_environment() {
    let ca = Authority::new("ours");
    let issuer = Issuer::start(&ca).await;
    let toml = issuer.trusted(Some(&issuer.mount.file("ca.crt")));
    let wanted = format!("localhost:{}", issuer.replica.http.port());
    let (address, asked) = proxy(wanted).await;
    for (exempt, times) in [("", 1), ("localhost", 1)] {
        let mut command = portcullis();
        command.env("HTTPS_PROXY", &address).env("NO_PROXY", exempt);
        let replica = Replica::of(command, &toml).ready().await;
        assert_eq!(Asker::of(&replica).await.reason(&issuer.token).await, "");
        assert_eq!(asked.load(Ordering::Relaxed), times, "NO_PROXY={exempt}");
    }
}
