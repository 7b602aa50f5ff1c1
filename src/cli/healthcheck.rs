//! `healthcheck`.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use portcullis::config::{Config, Sources};

use super::{ConfigArgs, NO, YES, fail, print};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the running service's `/readyz`, for container probes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  portcullis healthcheck --config portcullis.toml")]
pub(super) struct Healthcheck {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Healthcheck {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let sources = Sources::of_process(self.config.config);
        let address = Config::internal_listen(&sources);
        let mut address = address.ok_or_else(|| {
            fail(NO, "internal.listen is not an address", "write one such as 127.0.0.1:9192")
        })?;
        // An address for listening everywhere is none to connect to.
        address.set_ip(match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        });
        let answer = ask(address).map_err(|error| {
            fail(
                NO,
                format!("{address} does not answer: {error}"),
                "check whether the service is running",
            )
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.split(' ').nth(1) == Some("200") {
            print(body.trim_end());
            return Ok(ExitCode::from(YES));
        }
        Err(fail(NO, format!("not ready: {}", body.trim_end()), "wait, or see the service's log"))
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(
        format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    Ok(answer)
}
