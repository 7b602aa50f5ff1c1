#!/usr/bin/env python3
"""Holds alerts and dashboard to each other and to the metrics that there are,
and has promtool read every query.

    k8s/checks/monitoring.py           checks
    k8s/checks/monitoring.py --write   writes prometheus-rule.yaml after alerts.yaml
"""

import json
import re
import subprocess
import sys

import yaml

from objects import K8S, ROOM, Faults

HERE = K8S / "monitoring"
HEAD = """# For the Prometheus operator: made of alerts.yaml by `k8s/check --write`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: portcullis
  labels:
    app.kubernetes.io/name: portcullis
spec:
"""
# Every metric, with its labels.
METRICS = {
    "portcullis_checks_total": {"decision", "reason", "rule", "transport"},
    "portcullis_check_duration_seconds_bucket": {"le"},
    "portcullis_shadow_changes_total": {"change", "rule"},
    "portcullis_shadow_denials_total": {"rule"},
    "portcullis_logins_total": {"method", "result"},
    "portcullis_store_operations_total": {"operation", "result"},
    "portcullis_store_duration_seconds_bucket": {"le"},
    "portcullis_revocations_age_seconds": set(),
    "portcullis_revoked_tokens": set(),
    "portcullis_config_reloads_total": {"result"},
    "portcullis_config_last_reload_successful": set(),
    "portcullis_build_info": {"version"},
    "portcullis_certificate_expiry_timestamp_seconds": {"listener"},
    "portcullis_issuer_keys": {"issuer"},
    "portcullis_issuer_keys_age_seconds": {"issuer"},
    "portcullis_issuer_fetches_total": {"issuer", "result"},
    "portcullis_api_keys": {"state"},
}
# Those that Prometheus sets by what it asked.
OF_THE_TARGET = {"namespace", "pod"}


def operators_rule():
    """alerts.yaml, as the operator wants it."""
    lines = (HERE / "alerts.yaml").read_text().splitlines()
    body = lines[lines.index("groups:") :]
    return HEAD + "".join(f"  {line}".rstrip() + "\n" for line in body)


def query_faults(query):
    """Metrics and labels in a query that there are not."""
    for metric, selector in re.findall(r"\b(portcullis_\w+)(\{[^}]*\})?", query):
        if metric not in METRICS:
            yield f"there is no metric {metric}"
            continue
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            if label not in METRICS[metric] | OF_THE_TARGET:
                yield f"{metric} has no label {label}"
        labels = {label for each in re.findall(r"\bby \(([^)]*)\)", query) for label in re.split(r",\s*", each)}
        for label in labels - OF_THE_TARGET - METRICS[metric]:
            yield f"{metric} has no label {label}"


def dashboard_queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard.json: {panel['title']}", target["expr"]


def main():
    if sys.argv[1:] == ["--write"]:
        (HERE / "prometheus-rule.yaml").write_text(operators_rule())
        return
    faults = Faults("monitoring")
    if (HERE / "prometheus-rule.yaml").read_text() != operators_rule():
        faults.add("prometheus-rule.yaml", "is not alerts.yaml any more: k8s/check --write")

    alerts = yaml.safe_load((HERE / "alerts.yaml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    dashboard = json.loads((HERE / "dashboard.json").read_text())
    readme = (K8S / "README.md").read_text()
    queries = [(f"alerts.yaml: {rule['alert']}", rule["expr"]) for rule in rules]
    queries += dashboard_queries(dashboard)
    for where, query in queries:
        for cause in query_faults(query):
            faults.add(where, cause)
    for metric in METRICS:
        if not any(metric in query for _, query in queries):
            faults.add("dashboard.json", f"nothing shows {metric}")

    # Each alert seen to fire, and seen not to.
    tests = yaml.safe_load((HERE / "alerts.test.yaml").read_text())["tests"]
    expected = [(test["alertname"], bool(test["exp_alerts"])) for each in tests for test in each["alert_rule_test"]]
    for rule in rules:
        where = f"alerts.yaml: {rule['alert']}"
        for fires in (True, False):
            if (rule["alert"], fires) not in expected:
                faults.add(where, f"alerts.test.yaml has no test of it {'firing' if fires else 'being silent'}")
        if "severity" not in rule["labels"] or {"summary", "description"} - set(rule["annotations"]):
            faults.add(where, "it lacks severity, summary or description")
        if rule["alert"] not in readme:
            faults.add(where, "README.md does not know it")

    # The dashboard's queries as rules, since promtool reads nothing else offline.
    as_rules = [
        {"record": f"dashboard:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$namespace", ".*")}
        for number, (_, query) in enumerate(dashboard_queries(dashboard))
    ]
    file = ROOM / "dashboard-rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": as_rules}]}))
    for command in (
        ["promtool", "check", "rules", HERE / "alerts.yaml"],
        ["promtool", "check", "rules", file],
        ["promtool", "test", "rules", HERE / "alerts.test.yaml"],
    ):
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode != 0:
            faults.add(" ".join(map(str, command[:3])), answer.stdout + answer.stderr)
    faults.close(f"{len(rules)} alerts fire and keep silent as they should; {len(as_rules)} queries on the dashboard")


if __name__ == "__main__":
    main()
