//! The reference of commands, reasons, metrics and endpoints tells what the code has, no less and
//! no more. Those of commands and endpoints are written by this: `docs/run --write`.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;

use super::reference::hold;
use crate::support::{output, portcullis, read};

/// What `--help` of a command says, and those of its subcommands.
fn helps(command: &[String], page: &mut String) {
    let help = output(portcullis().args(command).arg("--help"), "");
    let help = String::from_utf8(help.stdout).unwrap();
    let level = if command.len() > 1 { "###" } else { "##" };
    let (about, rest) = help.split_once("\n\nUsage: ").unwrap();
    let subcommands: Vec<&str> = rest
        .split_once("\nCommands:\n")
        .map(|(_, rest)| rest.lines().take_while(|line| !line.is_empty()))
        .into_iter()
        .flatten()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    if !command.is_empty() {
        let (name, about) = (command.join(" "), about.replace('\n', " "));
        write!(page, "\n{level} {name}\n\n{about}\n\n```text\nUsage: {}\n```\n", rest.trim_end())
            .unwrap();
    }
    for name in subcommands {
        let command: Vec<String> = command.iter().cloned().chain([name.to_owned()]).collect();
        helps(&command, page);
    }
}

#[test]
fn the_page_of_the_commands_is_what_they_say_of_themselves() {
    let mut page = String::from(
        "# Commands\n\n\
         `portcullis` is one program with several commands. This page is the `--help` of each of \
         them.\n\n\
         <!-- Written by docs/run --write, from the commands' own --help. -->\n\n\
         ## The shortest example\n\n\
         ```sh\n\
         portcullis --version\n\
         portcullis explain /api/healthcheck\n\
         ```\n\n\
         <!-- printed -->\n\
         ```text\n\
         portcullis …\n\
         decision allow\n\
         ```\n\n\
         The exit code is 0 for a yes, 1 for a no, and 2 if the usage or the configuration is \
         wrong.\n",
    );
    helps(&[], &mut page);
    assert!(page.matches("\n### ").count() > 10, "{page}");
    hold("docs/src/reference/commands.md", &page);
}

#[test]
fn the_page_of_reasons_has_each_and_its_advice_and_no_other() {
    let page = read("docs/src/reference/reasons.md");
    let rows: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | ")?.1.split_once(" | "))
        .zip(page.lines().filter(|line| line.starts_with("| `")))
        .map(|((status, advice), line)| {
            assert!(advice.len() > 10, "{line}");
            format!("{} {status}", line.split('`').nth(1).unwrap())
        })
        .collect();
    let reasons: BTreeSet<String> = portcullis::authz::Reason::ALL
        .iter()
        .map(|reason| format!("{} {}", reason.as_str(), reason.status()))
        .collect();
    assert_eq!(rows, reasons);
}

#[test]
fn the_page_of_metrics_has_each_and_no_other() {
    let page = read("docs/src/reference/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `portcullis_"));
    let first_cells = rows.filter_map(|line| line.split(" | ").next());
    let told: BTreeSet<String> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| name.split('{').next().unwrap().trim_end_matches("_total").to_owned())
        .collect();
    let code = read("src/metrics/mod.rs") + &read("src/metrics/checks.rs");
    let there: BTreeSet<String> = code
        .split("registry.register(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .map(|name| format!("portcullis_{name}"))
        .collect();
    assert!(there.len() > 15, "{there:?}");
    assert_eq!(told, there);
}

#[test]
fn the_page_of_the_endpoints_is_what_their_document_says() {
    let document: Value = serde_json::from_str(&read("docs/src/reference/openapi.json")).unwrap();
    let mut page = String::from(
        "# HTTP endpoints\n\n\
         These are the endpoints on `http.listen`, for browsers and pages, and on \
         `internal.listen`, for probes, Prometheus and gateways. [`openapi.json`](openapi.json) \
         describes the same endpoints for programs, as OpenAPI 3.1; a test calls each of its \
         operations on the running service. Gateways that use gRPC call \
         `envoy.service.auth.v3`: [call it by hand](../how-to/grpcurl.md).\n\n\
         <!-- Written by docs/run --write, from openapi.json. -->\n\n\
         ## The shortest example\n\n\
         ```sh\n\
         portcullis serve --dev &\n\
         curl -s localhost:8080/session -H 'content-type: application/json' \\\n  \
           -d '{\"username\":\"demo\",\"password\":\"demo\"}'\n\
         ```\n\n\
         <!-- printed -->\n\
         ```text\n\
         {\"expires_in\":28800,…,\"token\":\"…\"}\n\
         ```\n\n\
         Every error has the same form:\n\n\
         ```text\n\
         {\"error\":{\"message\":\"…\",\"type\":\"auth_error\",\"param\":null,\"code\":\"401\"}}\n\
         ```\n",
    );
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for tag in document["tags"].as_array().unwrap() {
        write!(page, "\n## {}\n\n{}\n\n", text(&tag["name"]), text(&tag["description"])).unwrap();
        page.push_str("| request | what it is for | body | answers |\n|---|---|---|---|\n");
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if operation["tags"][0] != tag["name"] {
                    continue;
                }
                let answers = operation["responses"].as_object().unwrap().iter();
                let answers = answers
                    .map(|(status, answer)| format!("{status} {}", text(&answer["description"])));
                let content = operation["requestBody"]["content"].as_object();
                let body = content.into_iter().flatten().map(|(kind, body)| {
                    let schema = match body["schema"]["$ref"].as_str() {
                        Some(name) => document.pointer(name.strip_prefix('#').unwrap()).unwrap(),
                        None => &body["schema"],
                    };
                    let fields = schema["properties"].as_object().unwrap().keys();
                    let fields: Vec<_> = fields.map(|name| format!("`{name}`")).collect();
                    format!("{}: {}", kind.rsplit('/').next().unwrap(), fields.join(", "))
                });
                writeln!(
                    page,
                    "| `{} {path}` | {} | {} | {} |",
                    method.to_uppercase(),
                    text(&operation["summary"]),
                    body.collect::<Vec<_>>().join("; "),
                    answers.collect::<Vec<_>>().join("; "),
                )
                .unwrap();
            }
        }
    }
    hold("docs/src/reference/http.md", &page);
}
