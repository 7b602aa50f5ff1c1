//! TLS and mutual TLS on the check and the http listener.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::{
    floods::{DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, block, frame},
    grpc::{bearer, question},
    mount::Mount,
    pki::{Authority, Issued},
    replica::Replica,
    support::eventually,
};

const TLS: &str = r#"
[check]
tls = { cert_file = "tls.crt", key_file = "tls.key", client_ca_file = "ca.crt" }
[http]
public_url = "https://localhost"
tls = { cert_file = "tls.crt", key_file = "tls.key" }
[lifecycle]
drain = "0s"
"#;

fn mount(own: &Issued, ca: &Authority) -> Mount {
    Mount::new(&files(TLS, own, &ca.pem()))
}

fn files<'a>(toml: &'a str, own: &'a Issued, ca: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("portcullis.toml", toml),
        ("tls.crt", &own.certificate),
        ("tls.key", &own.key),
        ("ca.crt", ca),
    ]
}

async fn channel(
    replica: &Replica,
    tls: ClientTlsConfig,
) -> Result<Channel, tonic::transport::Error> {
    let address = format!("https://localhost:{}", replica.check.port());
    Endpoint::new(address).unwrap().tls_config(tls).unwrap().connect().await
}

/// Whether a check is answered; that it is allowed, too.
async fn is_answered(channel: Channel) -> bool {
    let question = question("GET", "/api/agents", &[("authorization", &bearer(&json!({})))]);
    match AuthorizationClient::new(channel).check(question).await {
        Ok(answer) => {
            assert_eq!(answer.into_inner().status.unwrap().code, 0);
            true
        }
        Err(_) => false,
    }
}

/// Connects and asks; a client without a certificate learns of its refusal
/// from the first read (TLS 1.3), so that connecting alone tells nothing.
async fn is_let_in(replica: &Replica, tls: ClientTlsConfig) -> bool {
    match channel(replica, tls).await {
        Ok(channel) => is_answered(channel).await,
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_gateway_without_a_certificate_is_refused_in_the_handshake() {
    let (ca, other) = (Authority::new("ours"), Authority::new("another"));
    let mount = mount(&ca.issue(1, 2099), &ca);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let gateway = ca.issue(2, 2099);

    assert!(is_let_in(&replica, ca.client(Some(&gateway))).await);
    assert!(!is_let_in(&replica, ca.client(None)).await, "shows none");
    assert!(!is_let_in(&replica, ca.client(Some(&other.issue(3, 2099)))).await, "another's");
    assert!(!is_let_in(&replica, ca.client(Some(&ca.issue(4, 2021)))).await, "expired");
    assert!(
        !is_let_in(&replica, other.client(Some(&gateway))).await,
        "the server's is checked, too"
    );
    let plain = Endpoint::new(format!("http://{}", replica.check)).unwrap().connect().await;
    assert!(match plain {
        Ok(channel) => !is_answered(channel).await,
        Err(_) => true,
    });
    replica.says("refused in the TLS handshake");
    assert!(!replica.running.log().contains("a panic"), "{}", replica.running.log());
    // Health is no way around it.
    let mut health = match channel(&replica, ca.client(None)).await {
        Ok(channel) => tonic_health::pb::health_client::HealthClient::new(channel),
        Err(_) => return,
    };
    assert!(health.check(tonic_health::pb::HealthCheckRequest::default()).await.is_err());
}

#[tokio::test]
async fn whoever_never_finishes_the_handshake_does_not_stay() {
    let ca = Authority::new("ours");
    let mount = mount(&ca.issue(1, 2099), &ca);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    for address in [replica.check, replica.http] {
        let mut silent = TcpStream::connect(address).unwrap();
        silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // The first bytes of a ClientHello, and no more.
        silent.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
        let mut rest = Vec::new();
        // It is closed, or reset; a read that times out is neither.
        match silent.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert!(is_let_in(&replica, ca.client(Some(&ca.issue(2, 2099)))).await);
}

/// The serial of the certificate that is shown there.
async fn serial(ca: &Authority, address: std::net::SocketAddr) -> u8 {
    let client = ca.raw_client(None);
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await;
    let stream = stream.unwrap();
    let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
    let shown = <x509_cert::Certificate as x509_cert::der::Decode>::from_der(shown).unwrap();
    *shown.tbs_certificate.serial_number.as_bytes().last().unwrap()
}

#[tokio::test]
async fn certificates_are_renewed_without_a_restart() {
    let ca = Authority::new("ours");
    let mount = mount(&ca.issue(1, 2098), &ca);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let gateway = ca.issue(7, 2099);
    let open = channel(&replica, ca.client(Some(&gateway))).await.unwrap();
    assert!(is_answered(open.clone()).await);
    assert_eq!((serial(&ca, replica.check).await, serial(&ca, replica.http).await), (1, 1));
    let expiry = |listener| {
        format!("portcullis_certificate_expiry_timestamp_seconds{{listener=\"{listener}\"}}")
    };
    let expires = portcullis_expiry(2098);
    assert!((replica.metric(&expiry("check")).await - expires).abs() < 0.5);
    assert!((replica.metric(&expiry("http")).await - expires).abs() < 0.5);

    // A key that is another's: everything stays as it was.
    let (new, wrong) = (ca.issue(2, 2099), ca.issue(3, 2099));
    let torn = Issued { key: wrong.key, ..new.clone() };
    mount.swap(&files(TLS, &torn, &ca.pem()));
    replica.says("the key does not belong to the first certificate");
    assert_eq!(serial(&ca, replica.check).await, 1);

    mount.swap(&files(TLS, &new, &ca.pem()));
    replica.says("was reloaded");
    assert_eq!((serial(&ca, replica.check).await, serial(&ca, replica.http).await), (2, 2));
    assert!(is_answered(open.clone()).await, "whoever was there comes again");
    assert!((replica.metric(&expiry("check")).await - portcullis_expiry(2099)).abs() < 0.5);

    // Another authority for gateways: the old certificate does not open anew.
    let other = Authority::new("another");
    let reloads = replica.running.log().matches("was reloaded").count();
    mount.swap(&files(TLS, &new, &other.pem()));
    eventually("the reload", || {
        (replica.running.log().matches("was reloaded").count() > reloads).then_some(())
    });
    assert!(!is_let_in(&replica, ca.client(Some(&gateway))).await);
    assert!(!is_answered(open).await, "nor does it stay");
    assert!(is_let_in(&replica, ca.client(Some(&other.issue(8, 2099)))).await);
}

#[tokio::test]
async fn a_gateway_that_is_not_trusted_any_more_is_cut_off_though_it_ignores_goaway() {
    let (ca, other) = (Authority::new("ours"), Authority::new("another"));
    let own = ca.issue(1, 2099);
    let mount = mount(&own, &ca);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let mut client = ca.raw_client(Some(&ca.issue(2, 2099)));
    client.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(replica.check).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await;
    let (mut read, mut write) = tokio::io::split(stream.unwrap());
    write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();

    // It asks on and on, and makes nothing of what it is told.
    let asking = async {
        for nth in 0.. {
            let asked = [
                frame(HEADERS, END_HEADERS, 2 * nth + 1, &block()),
                frame(DATA, 1, 2 * nth + 1, &[0; 5]),
            ];
            if write.write_all(&asked.concat()).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending::<()>().await;
    };
    let swap = async {
        let answers = || replica.running.log().matches("no_http_attributes").count();
        while answers() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        mount.swap(&files(TLS, &own, &other.pem()));
        while !replica.running.log().contains("was reloaded") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::time::Instant::now()
    };
    let ended = async {
        let mut said = [0; 4096];
        while matches!(read.read(&mut said).await, Ok(1..)) {}
    };
    let both = async {
        let (swapped, ()) = tokio::join!(swap, ended);
        swapped.elapsed()
    };
    let took = tokio::select! {
        took = tokio::time::timeout(Duration::from_secs(60), both) => took,
        () = asking => unreachable!("it waits for the end"),
    };
    let took = took.expect("it is answered on and on");
    assert!(took < Duration::from_secs(25), "{took:?}");
}

/// The first of January of that year, in seconds since 1970.
fn portcullis_expiry(year: i32) -> f64 {
    let at = rcgen::date_time_ymd(year, 1, 1).unix_timestamp();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let at = at as f64;
    at
}

#[tokio::test]
async fn the_pages_are_served_over_tls() {
    let ca = Authority::new("ours");
    let mount = mount(&ca.issue(1, 2099), &ca);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let root = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let port = replica.http.port();
    let page = client.get(format!("https://localhost:{port}/ui/login/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<html"));
    let plain = reqwest::get(format!("http://localhost:{port}/ui/login/")).await;
    assert!(plain.is_err(), "{plain:?}");
}

#[test]
fn what_cannot_be_tls_is_named_with_its_key() {
    let ca = Authority::new("ours");
    let (own, other) = (ca.issue(1, 2099), ca.issue(2, 2099));
    let room = Mount::new(&[
        ("tls.crt", &own.certificate),
        ("tls.key", &own.key),
        ("other.key", &other.key),
        ("empty.pem", ""),
    ]);
    let table = |certificate: &str, key: &str, ca: &str| {
        let file = |name: &str| room.file(name).display().to_string();
        let ca = if ca.is_empty() {
            String::new()
        } else {
            format!(", client_ca_file = {:?}", file(ca))
        };
        format!("{{ cert_file = {:?}, key_file = {:?}{ca} }}", file(certificate), file(key))
    };
    for (tls, listen, key) in [
        (table("tls.key", "tls.key", ""), "127.0.0.1:0", "check.tls.cert_file"),
        (table("missing", "tls.key", ""), "127.0.0.1:0", "check.tls.cert_file"),
        (table("tls.crt", "tls.crt", ""), "127.0.0.1:0", "check.tls.key_file"),
        (table("tls.crt", "other.key", ""), "127.0.0.1:0", "check.tls.key_file"),
        (table("tls.crt", "tls.key", "empty.pem"), "127.0.0.1:0", "check.tls.client_ca_file"),
        // Never mutual TLS without the means to check anybody.
        (table("tls.crt", "tls.key", "missing"), "127.0.0.1:0", "check.tls.client_ca_file"),
        (
            "{ cert_file = \"a\", key_file = \"b\", ca = \"c\" }".into(),
            "127.0.0.1:0",
            "check.tls.ca",
        ),
        (table("tls.crt", "tls.key", ""), "unix:/tmp/x.sock", "check.tls"),
    ] {
        let problems =
            crate::config::load(&format!("[check]\nlisten = {listen:?}\ntls = {tls}"), &[]);
        let problems = problems.unwrap_err();
        assert!(problems.iter().any(|problem| problem.key == key), "{tls}: {problems:?}");
        let shown = format!("{problems:?}");
        assert!(!shown.contains("BEGIN") && !shown.contains("MII"), "{shown}");
    }
    let browsers = format!("[http]\ntls = {}", table("tls.crt", "tls.key", "tls.crt"));
    let problems = crate::config::load(&browsers, &[]).unwrap_err();
    assert_eq!(problems[0].key, "http.tls.client_ca_file");
}
