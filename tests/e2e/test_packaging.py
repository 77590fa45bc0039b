"""Packages, image and manifests speak of the same program: its version, its variables, its files, its port."""

import copy
import json
import pathlib
import re
import shutil
import subprocess
import tomllib

import kubernetes.client
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
    assert server["egress"] == {"image": f"{image['newName']}:{VERSION}", "mode": "dns+nft", "disable_ipv6": False}


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
    assert {mount["mountPath"] for mount in sidecar["volumeMounts"]} == {"/var/egress/rules", "/run/opensandbox-egress"}
    done = _check({**env, "OPENSANDBOX_EGRESS_RULES_DIR": str(tmp_path)})
    assert done.returncode == 0 and "warning" not in done.stdout, done.stdout + done.stderr
    assert "deny.always: 169.254.169.254" in done.stdout and "OTLP metrics: on" in done.stdout
    assert set(always) == {"deny.always", "allow.always", "log_skip.always"}


def test_pod_starts_closed_and_with_one_capability(sidecar, objects):
    assert sidecar["restartPolicy"] == "Always"
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    for probe in "startupProbe", "readinessProbe":
        assert sidecar[probe]["exec"]["command"] == ["/usr/bin/opensandbox-egress", "--health"]
        assert sidecar[probe]["timeoutSeconds"] > 3, "which is what --health waits"
    assert ports["egress"] == 18080
    security = sidecar["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]} and security["runAsUser"] == 0
    for container in objects["Pod", "sandbox"]["spec"]["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def _collector(objects):
    text = objects["ConfigMap", "egress-collector"]["data"]["config.yaml"]
    container, = objects["DaemonSet", "egress-collector"]["spec"]["template"]["spec"]["containers"]
    for variable in re.findall(r"\$\{env:(\w+)\}", text):
        assert variable in {one["name"] for one in container["env"]}
    return yaml.safe_load(re.sub(r"\$\{env:\w+\}", "node-1", text))


def test_services_and_selectors_meet(objects):
    collector = objects["DaemonSet", "egress-collector"]["spec"]["template"]
    assert objects["Service", "egress-collector"]["spec"]["selector"].items() <= collector["metadata"]["labels"].items()
    offered = {port["name"] for port in collector["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in objects["Service", "egress-collector"]["spec"]["ports"]} <= offered
    receivers = _collector(objects)
    for pipeline in receivers["service"]["pipelines"].values():
        for kind in "receivers", "processors", "exporters":
            assert set(pipeline[kind]) <= set(receivers[kind])
    binding, role = objects["RoleBinding", "egress-collector"], objects["Role", "egress-collector"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"][0]["name"] == collector["spec"]["serviceAccountName"]
    assert ("ServiceAccount", collector["spec"]["serviceAccountName"]) in objects
    endpoint = next(variable["value"] for variable in objects["Pod", "sandbox"]["spec"]["initContainers"][0]["env"]
                    if variable["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT")
    service, port = re.match(r"http://([^.]+)\.opensandbox\.svc:(\d+)$", endpoint).groups()
    assert int(port) in {port["port"] for port in objects["Service", service]["spec"]["ports"]}


def _wrong(value, kind, where):
    """What Kubernetes' own description of its objects does not have; a name of a field or the type of a value."""
    if listed := re.match(r"list\[(.*)\]$|dict\(str, (.*)\)$", kind):
        inner = listed.group(1) or listed.group(2)
        if not isinstance(value, list if listed.group(1) else dict):
            return [f"{where}: {value!r} is no {kind}"]
        items = enumerate(value) if listed.group(1) else value.items()
        return [wrong for key, item in items for wrong in _wrong(item, inner, f"{where}.{key}")]
    if kind in ("str", "int", "bool"):
        return [] if type(value).__name__ == kind else [f"{where}: {value!r} is no {kind}"]
    model = getattr(kubernetes.client, kind, None)
    if not model:
        return []  # object, IntOrString, …
    types = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
    if kind == "V1Container":
        types["restartPolicy"] = "str"  # of 1.28, which Debian's description is older than
    return [wrong for name, item in value.items()
            for wrong in (_wrong(item, types[name], f"{where}.{name}") if name in types
                          else [f"{where}: {kind} has no {name}"])]


def test_objects_are_as_kubernetes_describes_them(objects):
    kinds = [f"V1{kind}" for kind, _ in objects if kind != "PodMonitor"]
    assert all(hasattr(kubernetes.client, kind) for kind in kinds) and "V1DaemonSet" in kinds
    wrong = [line for (kind, name), document in objects.items() for line in _wrong(document, f"V1{kind}", name)]
    assert not wrong, wrong


def _patched(pod, patch):
    """The operations of RFC 6902 that the patch uses."""
    pod = copy.deepcopy(pod)
    for operation in yaml.safe_load(patch):
        *path, last = (part.replace("~1", "/") for part in operation["path"].split("/")[1:])
        at = pod
        for part in path:
            at = at[int(part) if isinstance(at, list) else part]
        if operation["op"] == "add" and last == "-":
            at.append(operation["value"])
        else:
            assert operation["op"] == "replace" and last in at
            at[last] = operation["value"]
    return pod


def test_metrics_are_sent_or_scraped_and_never_both(objects):
    overlay = yaml.safe_load((KUBERNETES / "scraped/kustomization.yaml").read_text())
    patch, = overlay["patches"]
    sent = objects[patch["target"]["kind"], patch["target"]["name"]]
    job, = _collector(objects)["receivers"]["prometheus"]["config"]["scrape_configs"]
    name, wanted = job["kubernetes_sd_configs"][0]["selectors"][0]["label"].split("=")
    assert job["relabel_configs"][0]["regex"] == objects["PodMonitor", "egress"]["spec"]["podMetricsEndpoints"][0]["port"]
    assert objects["PodMonitor", "egress"]["spec"]["selector"]["matchLabels"] == {name: wanted}
    assert objects["PodMonitor", "egress"]["spec"]["podMetricsEndpoints"][0]["port"] == "egress"
    for pod, scraped in (sent, False), (_patched(sent, patch["patch"]), True):
        env = {variable["name"]: variable.get("value") for variable in pod["spec"]["initContainers"][0]["env"]}
        assert (pod["metadata"]["labels"][name] == wanted) is scraped
        assert (env.get("OTEL_METRICS_EXPORTER") == "none") is scraped
        assert not _wrong(pod, "V1Pod", "sandbox")


def test_prometheus_understands_what_the_collector_scrapes(objects, tmp_path):
    """The collector's receiver has Prometheus' own configuration. Debian's Prometheus does not know Kubernetes: in place of
    what finds pods it gets a pod."""
    config = _collector(objects)["receivers"]["prometheus"]["config"]
    job, = config["scrape_configs"]
    discovery, = job.pop("kubernetes_sd_configs")
    selector, = discovery["selectors"]
    assert discovery["role"] == selector["role"] == "pod" and selector["field"] == "spec.nodeName=node-1"
    job["static_configs"] = [{"targets": ["10.0.5.2:18080"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    done = subprocess.run(["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sizes_are_those_of_the_manifests(sidecar):
    """What the page about scaling multiplies is what the pod asks for."""
    page = " ".join((KUBERNETES / "README.md").read_text().split())
    requests = sidecar["resources"]["requests"]["memory"].removesuffix("Mi")
    assert f"| {requests} MiB | {round(int(requests) * 10000 / 1024)} GiB" in page
    assert f"memory limit of {sidecar['resources']['limits']['memory'].removesuffix('Mi')} MiB" in page
    assert f"`requests.cpu` {sidecar['resources']['requests']['cpu']}" in page


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
    assert len(commands) == 10 and len(options) == 7 and len(codes) == 11
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


def test_page_about_the_environment_has_every_variable_and_no_other():
    first, others = (ROOT / "docs/environment.md").read_text().split("| others |")
    named = {f"OPENSANDBOX_EGRESS_{name}" for name in re.findall(r"^\| \**`(\w+)`", first, re.MULTILINE)}
    assert named | {"OPENSANDBOX_LOG_OUTPUT"} == VARIABLES and "`OPENSANDBOX_LOG_OUTPUT`" in others


def test_values_that_end_a_start_are_the_bold_ones(tmp_path):
    """A folder of always files, in which a bad line does it, counts among them."""
    (tmp_path / "deny.always").write_text("http://\n")
    page = (ROOT / "docs/environment.md").read_text()
    bold = {f"OPENSANDBOX_EGRESS_{name}" for name in re.findall(r"^\| \*\*`(\w+)`", page, re.MULTILINE)}
    bad = {"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "on", "OPENSANDBOX_EGRESS_RULES_DIR": str(tmp_path)}
    ended = {name for name in VARIABLES - {"OPENSANDBOX_LOG_OUTPUT"}
             if _check({"OPENSANDBOX_EGRESS_RULES_DIR": "/nonexistent", name: bad.get(name, "bad value!")}).returncode}
    assert ended == bold


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


def _anchors(page):
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_of_the_documents_lead_somewhere():
    pages = [path for folder in ("", "docs", "packaging/kubernetes") for path in (ROOT / folder).glob("*.md")]
    assert len(pages) > 12
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in _anchors(target), f"{page.name}: {link}"


def test_map_of_the_sources_names_every_module_once():
    rows = re.findall(r"^\| `(src/\w*/?)` \| (.*)$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows))
    for folder, text in rows:
        modules = {path.stem for path in (ROOT / folder).glob("*.c")} - {"main"}
        named = re.findall(r"`(\w+)`", text)
        assert modules <= set(named), f"{folder}: {modules - set(named)}"
        gone = {name for name in named if not list((ROOT / folder).glob(f"{name}.[ch]"))}
        assert not gone, f"{folder}: {gone}"
