//! `check-envoy`: what of a configuration of Envoy leaves a way past portcullis.
//!
//! ```text
//! file ── tree ── found         listeners, routes, clusters, wherever they stand
//!                   listener    a listener: its connection managers
//!                     manager   paths, addresses, upgrades, what is logged (logs)
//!                     chain     the filters in their order, and which of them ask
//!                       asking, module   what these are told
//!                     routes    where each leads (upstreams), and whether anybody is asked
//! ```

mod asking;
mod chain;
mod found;
mod listener;
mod logs;
mod manager;
mod module;
mod names;
mod report;
mod routes;
mod tree;
mod upstreams;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use self::{found::Found, report::Report, tree::Node};
use super::{NO, WRONG, YES, fail, print};

/// Reports what in an Envoy configuration lets requests bypass portcullis, each finding
/// with its place, cause and fix; prints `ok` if there is none
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis check-envoy envoy.yaml
  curl -s http://127.0.0.1:9901/config_dump | portcullis check-envoy -
  portcullis check-envoy --open static_site --json envoy.yaml

The file is YAML or JSON: an Envoy configuration, the output of /config_dump, a
listener, or a list of xDS resources. If the file refers to routes (RDS) or filters
(ECDS) that it does not contain, a warning says so; the /config_dump of a running
Envoy contains them all. The check assumes that identity headers begin with x-user-,
and that every ext_authz filter asks portcullis. A route that matches only paths of
portcullis itself (/sso, /session, /ui and the like) may lead, without a check, to a
cluster that is not guarded on any other route.

An error means that requests can bypass portcullis, or that a credential is disclosed.
A warning may be intended. The exit code is 0 if there is no error, 1 if there is one,
and 2 if the file could not be read.")]
pub(super) struct CheckEnvoy {
    /// A cluster that requests may reach without a check, such as a public site or
    /// portcullis itself; may be given several times
    #[arg(long, value_name = "CLUSTER")]
    open: Vec<String>,
    /// Prints the findings as JSON
    #[arg(long)]
    json: bool,
    /// The file to check; `-` reads stdin
    file: PathBuf,
}

impl CheckEnvoy {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let name = self.file.display();
        let wrong = |cause: String, fix: &str| fail(WRONG, format!("{name}: {cause}"), fix);
        let tree = tree::read(&self.file).map_err(|cause| {
            wrong(
                cause,
                "give a configuration of Envoy in YAML or JSON, or what /config_dump prints",
            )
        })?;
        let found = Found::look(&Node::root(&tree));
        if found.listeners.is_empty() {
            return Err(wrong(
                "it contains no listener".to_owned(),
                "give a file with static_resources.listeners, a listener, or what /config_dump \
                 prints",
            ));
        }
        let mut report = Report::default();
        listener::look(&found, &self.open, &mut report);
        if self.json {
            print(report.in_json());
        } else {
            let _ = write!(io::stderr(), "{report}");
        }
        if report.has_errors() {
            return Ok(ExitCode::from(NO));
        }
        if !self.json {
            print("ok");
        }
        Ok(ExitCode::from(YES))
    }
}
