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

/// Says what of an Envoy's configuration leaves a way past portcullis, each with its
/// place, its cause and its fix; else `ok`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis check-envoy envoy.yaml
  curl -s http://127.0.0.1:9901/config_dump | portcullis check-envoy -
  portcullis check-envoy --open static_site --json envoy.yaml

The file is YAML or JSON: Envoy's own configuration, what /config_dump prints, a
listener, or a list of resources as xDS has them. What it names and does not have
(routes of an RDS, filters of an ECDS) is told: ask /config_dump of a running Envoy
for all. Identity headers are taken to begin with x-user-, and any ext_authz to ask
portcullis. A route for its own paths alone (/sso, /session, /ui and the like) may go
without a question to a cluster that no other route guards.

An error is a way past, or a credential that is told; a warning may not be meant. The
exit code is 0, 1 when there is an error, and 2 when the file could not be read.")]
pub(super) struct CheckEnvoy {
    /// A cluster that may be reached without a question, such as a public site or
    /// portcullis itself; may be given several times
    #[arg(long, value_name = "CLUSTER")]
    open: Vec<String>,
    /// Answers in JSON
    #[arg(long)]
    json: bool,
    /// The file; `-` for stdin
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
                "no listener in it".to_owned(),
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
