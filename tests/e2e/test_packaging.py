"""Packages, image and manifests speak of the same program: its version, its variables, its files, its port."""

import json
import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from tests.support.sidecar import BINARY, ROOT

PACKAGING = ROOT / "packaging"
KUBERNETES = PACKAGING / "kubernetes"
VERSION = re.search(r"^  version: '(.*)',", (ROOT / "meson.build").read_text(), re.MULTILINE).group(1)
VARIABLES = set(re.findall(r'\{"(OPENSANDBOX_\w+)"', (ROOT / "src/config.c").read_text())) | {
    "OPENSANDBOX_EGRESS_ALLOW_HOST_NETWORK"}


def _check(env, **options):
    return subprocess.run([BINARY, "--check"], env={"PATH": "/usr/bin", **env}, capture_output=True, text=True,
                          check=False, **options)


@pytest.fixture(scope="module")
def objects():
    """Everything that the kustomization names, by kind and name."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    documents = [document for resource in kustomization["resources"]
                 for document in yaml.safe_load_all((KUBERNETES / resource).read_text())]
    assert {path.name for path in KUBERNETES.glob("*.yaml")} == {*kustomization["resources"], "kustomization.yaml"}
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


@pytest.fixture(scope="module")
def sidecar(objects):
    container, = objects["Pod", "sandbox"]["spec"]["initContainers"]
    return container


def test_one_version_everywhere():
    assert re.match(r"opensandbox-egress \((.*)\)", (PACKAGING / "debian/changelog").read_text()).group(1) == VERSION
    image, = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    assert image["newTag"] == VERSION
    server = tomllib.loads((KUBERNETES / "opensandbox-server.toml").read_text())
    assert server["egress"] == {"image": f"{image['newName']}:{VERSION}", "mode": "dns+nft"}


def test_environment_of_the_pod_is_one_that_the_sidecar_can_use(objects, sidecar, tmp_path):
    env = {}
    for variable in sidecar["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            reference = source["secretKeyRef"]
            env[variable["name"]] = objects["Secret", reference["name"]]["stringData"][reference["key"]]
        else:
            env[variable["name"]] = variable.get("value", "0b9bcb1c-7a5e-4a3e-9f1f-0123456789ab")
    assert {name for name in env if name.startswith("OPENSANDBOX_")} <= VARIABLES
    always = objects["ConfigMap", "egress-always"]["data"]
    for name, text in always.items():
        (tmp_path / name).write_text(text)
    assert {mount["mountPath"] for mount in sidecar["volumeMounts"]} == {"/var/egress/rules"}
    done = _check({**env, "OPENSANDBOX_EGRESS_RULES_DIR": str(tmp_path)})
    assert done.returncode == 0 and "warning" not in done.stdout, done.stdout + done.stderr
    assert "deny.always: 169.254.169.254" in done.stdout and "OTLP metrics: on" in done.stdout
    assert set(always) == {"deny.always", "allow.always", "log_skip.always"}


def test_pod_starts_closed_and_with_one_capability(sidecar, objects):
    assert sidecar["restartPolicy"] == "Always"
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    for probe in "startupProbe", "readinessProbe":
        assert sidecar[probe]["httpGet"] == {"path": "/healthz", "port": "egress"} and ports["egress"] == 18080
    security = sidecar["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]} and security["runAsUser"] == 0
    for container in objects["Pod", "sandbox"]["spec"]["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_services_and_selectors_meet(objects):
    collector = objects["DaemonSet", "egress-collector"]["spec"]["template"]
    assert objects["Service", "egress-collector"]["spec"]["selector"].items() <= collector["metadata"]["labels"].items()
    offered = {port["name"] for port in collector["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in objects["Service", "egress-collector"]["spec"]["ports"]} <= offered
    receivers = yaml.safe_load(objects["ConfigMap", "egress-collector"]["data"]["config.yaml"])
    for pipeline in receivers["service"]["pipelines"].values():
        for kind in "receivers", "processors", "exporters":
            assert set(pipeline[kind]) <= set(receivers[kind])
    monitor = objects["PodMonitor", "egress"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= objects["Pod", "sandbox"]["metadata"]["labels"].items()
    assert monitor["podMetricsEndpoints"][0]["port"] == "egress"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not there")
def test_kustomize_takes_it(objects, sidecar):
    done = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert len(made) == len(objects)
    pod = next(document for document in made if document["kind"] == "Pod")
    assert pod["spec"]["initContainers"][0]["image"] == f"opensandbox-egress:{VERSION}"
    assert all(document["metadata"].get("namespace") == "opensandbox" for document in made
               if document["kind"] != "Namespace")


def test_example_of_the_service_can_be_used():
    lines = (PACKAGING / "systemd/example.env").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    done = _check({**env, "OPENSANDBOX_EGRESS_RULES_DIR": "/nonexistent"})
    assert done.returncode == 0 and "warning" not in done.stdout, done.stdout + done.stderr
    mentioned = {word for line in lines for word in re.findall(r"^#?(OPENSANDBOX_\w+)=", line)}
    assert mentioned <= VARIABLES


def test_manual_has_every_variable():
    manual = (PACKAGING / "man/opensandbox-egress.8").read_text()
    for name in VARIABLES - {"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT"}:
        assert name.removeprefix("OPENSANDBOX_EGRESS_") in manual, name


def test_manual_and_completions_have_all_of_ctl():
    usage = subprocess.run([BINARY, "ctl", "--help"], capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"^  (?:policy )?([a-z]+)\b", usage, re.MULTILINE))
    options = set(re.findall(r"^  --([a-z-]+)\b", usage, re.MULTILINE))
    codes = set(re.findall(r"\b(\d+)\s[a-z]", usage.partition("Exit codes: ")[2]))
    assert len(commands) == 10 and len(options) == 6 and len(codes) == 11
    manual = (PACKAGING / "man/opensandbox-egress-ctl.1").read_text()
    assert codes == set(re.findall(r"^\.It (\d+)$", manual, re.MULTILINE))
    for word in commands:
        assert re.search(rf"^\.It Cm (?:policy )?{word}\b|^.It Cm .*, Cm policy {word}\b", manual, re.MULTILINE), word
    for word in options:
        assert f".It Fl -{word}" in manual, word
    for shell in "bash", "zsh", "fish":
        completion = (PACKAGING / f"completion/opensandbox-egress.{shell}").read_text()
        for word in commands | options:
            assert re.search(rf"[ (\"'-]{word}\b", completion), (shell, word)


def test_examples_of_the_manual_are_policies():
    manual = (PACKAGING / "man/opensandbox-egress-policy.5").read_text()
    examples = re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed", manual, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        done = _check({"OPENSANDBOX_EGRESS_RULES": example})
        assert done.returncode == 0, done.stderr
        policy = json.loads(re.search(r"^policy: (.*)$", done.stdout, re.MULTILINE).group(1))
        assert policy["egress"] == [{"action": rule["action"], "target": rule["target"]}
                                    for rule in json.loads(example)["egress"]]


def test_build_dependencies_are_those_of_the_scripts():
    """Of libraries; tools are named one by one."""
    script = (ROOT / "scripts/lib.sh").read_text()
    build = re.search(r"^build_packages=\((.*?)\)", script, re.MULTILINE | re.DOTALL).group(1)
    packages = set(re.findall(r"\blib\S+-dev\b|\bzlib1g-dev\b", build)) - {"libc6-dev"}
    control = (PACKAGING / "debian/control").read_text()
    assert packages == set(re.findall(r"\b(?:lib\S+-dev|zlib1g-dev)\b", control))


def test_paths_named_are_there():
    dockerfile = (PACKAGING / "oci/Dockerfile").read_text()
    assert "scripts/image" in dockerfile and pathlib.Path(ROOT, "scripts/image").exists()
    for list_of_files in "docs", "examples", "manpages":
        for name in (PACKAGING / "debian" / list_of_files).read_text().split():
            assert (ROOT / name).exists(), name
