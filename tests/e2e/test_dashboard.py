"""Dashboard and alert rules ask only for what GET /metrics has, and alerts are raised when there is a reason."""

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


def test_panels_ask_in_promql(tmp_path):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    targets = [target["expr"] for panel in panels for target in panel["targets"]]
    filled = [expr.replace("$__rate_interval", "1m").replace("$sandbox", ".*") for expr in targets]
    rules = [{"record": f"panel:{i}", "expr": expr} for i, expr in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0 and f"{len(targets)} rules found" in done.stdout, done.stdout + done.stderr


def test_alert_rules_are_rules(tmp_path):
    rules = tmp_path / "rules.yml"
    rules.write_text(alerts())
    done = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "5 rules found" in done.stdout, done.stdout + done.stderr


# What happened, in minutes, and which alerts there are of it after `at` minutes. All series are of one sidecar, a.
QUERIES = 'egress_dns_queries_total{instance="a",proto="udp",result="%s"}'
LOGS = 'otel_sdk_exporter_log_exported_total{instance="a"%s}'
HEALTHY = {'egress_enforcement_active{instance="a"}': "1x60", 'egress_dns_upstreams_healthy{instance="a"}': "1x60"}
STORIES = {
    "all is well": (20, {QUERIES % "allowed": "0+60x60", QUERIES % "failed": "0x60", LOGS % "": "0+60x60",
                         'egress_policy_denied_total{instance="a"}': "0+6x60", **HEALTHY}, []),
    "half of the names fail": (20, {QUERIES % "allowed": "0+60x60", QUERIES % "failed": "0+60x60", **HEALTHY},
                               ["EgressUpstreamFailing"]),
    "a few names fail": (20, {QUERIES % "allowed": "0+60x60", QUERIES % "failed": "0+1x60", **HEALTHY}, []),
    "no upstream answers its probe": (20, {**HEALTHY, 'egress_dns_upstreams_healthy{instance="a"}': "0x60"},
                                      ["EgressUpstreamFailing"]),
    "the table is gone": (5, {**HEALTHY, 'egress_enforcement_active{instance="a"}': "1 0x60"}, ["EgressEnforcementDown"]),
    "nobody knows": (5, {'egress_dns_upstreams_healthy{instance="a"}': "1x60"}, ["EgressEnforcementDown"]),
    "one batch of records is lost, the first ever": (
        13, {LOGS % "": "0+60x60", LOGS % ',error_type="connection"': "0x10 500x60", **HEALTHY}, ["EgressLogLoss"]),
    "the queue was full": (13, {'otel_sdk_processor_log_processed_total{instance="a",error_type="queue_full"}':
                                "0x10 7x60", **HEALTHY}, ["EgressLogLoss"]),
    "denials surge": (59, {'egress_policy_denied_total{instance="a"}': "0+6x45 300+600x20", **HEALTHY},
                      ["EgressDenialsSurge"]),
    "many denials from the start on": (8, {'egress_policy_denied_total{instance="a"}': "0+600x60", **HEALTHY},
                                       ["EgressDenialsSurge"]),
    "many denials as ever": (59, {'egress_policy_denied_total{instance="a"}': "0+600x60", **HEALTHY}, []),
    "the kernel refuses": (13, {'egress_nftables_errors_total{instance="a"}': "0x10 1x60", **HEALTHY},
                           ["EgressKernelErrors"]),
}


@pytest.mark.parametrize("story", STORIES)
def test_alerts_are_raised_when_they_should(tmp_path, story):
    at, series, expected = STORIES[story]
    (tmp_path / "rules.yml").write_text(alerts())
    # The set of all alerts, as Prometheus itself keeps it.
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected]
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": 'sum by (alertname) (ALERTS{alertstate="firing"}) > bool 0',
                              "eval_time": f"{at}m", "exp_samples": samples}]}]}
    (tmp_path / "story.yml").write_text(json.dumps(test))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "story.yml")], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
