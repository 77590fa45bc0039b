"""What /metrics shows, read by the parsers of the Prometheus project."""

import subprocess

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SCOPE_LABELS = {"otel_scope_name", "otel_scope_version"}


class Scrape:
    """`families` by name as the parser has them; a counter's has no `_total`."""

    def __init__(self, client, accept=None):
        self.response = client.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        assert self.response.status == 200
        self.text = self.response.text
        self.openmetrics = "openmetrics" in self.response.headers["Content-Type"]
        parse = (openmetrics_parser if self.openmetrics else parser).text_string_to_metric_families
        self.families = {family.name: family for family in parse(self.text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def all(self, name, **labels):
        """The samples of this name with these labels, among others."""
        return [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]

    def value(self, name, **labels):
        """The value of the one sample with these labels, among others; 0 when there is none."""
        found = self.all(name, **labels)
        assert len(found) <= 1, found
        return found[0].value if found else 0

    def sum(self, name, **labels):
        return sum(s.value for s in self.all(name, **labels))


def promtool(text):
    """What `promtool check metrics` has to say, line by line."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode in (0, 3), done.stderr  # 3: it has read all of it, and does not like something
    return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
