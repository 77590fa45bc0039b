"""Dashboard and alert rules ask only for what GET /metrics has."""

import json
import re
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import dnsclient
from tests.support.sidecar import ROOT

DASHBOARD = ROOT / "packaging/grafana/egress.json"
PAGE = ROOT / "docs/telemetry.md"
# There once there is something to tell, with the same names as in OTLP.
LATER = {"otel_sdk_exporter_log_exported_total", "otel_sdk_exporter_metric_data_point_exported_total",
         "otel_sdk_processor_log_processed_total", "otel_sdk_processor_log_queue_size"}


def alerts():
    (text,) = re.findall(r"```yaml\n(groups:.*?)```", PAGE.read_text(), re.S)
    return text


def expressions():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]] + re.findall(r"expr: (.*)", alerts())


@pytest.mark.parametrize("mode", ["dns+nft"])
def test_every_name_and_label_is_there(world, start, mode):
    sidecar = start(MODE=mode, SANDBOX_ID="sb-1")
    dnsclient.ask(world.sandbox, "www.other.test")
    sidecar.request("GET", "/policy")
    families = list(text_string_to_metric_families(sidecar.request("GET", "/metrics").text))
    labels = {}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    used = expressions()
    assert len(used) > 30
    for expression in used:
        for name, selector in re.findall(r"\b((?:egress|otel)_\w+)(?:\{([^}]*)\})?", expression):
            assert name in labels or name in LATER, name
            if name in labels:
                wanted = set(re.findall(r"(\w+)[=!]~?=?\"", selector))
                assert wanted <= labels[name], (name, wanted)


def test_alert_rules_are_rules(tmp_path):
    rules = tmp_path / "rules.yml"
    rules.write_text(alerts())
    done = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "5 rules found" in done.stdout, done.stdout + done.stderr
