"""The committed deployment files are the generated ones, and say of the platform what is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.compose_here import dockerfile
from tradewind.deploy import catalogue
from tradewind.deploy.containers import USER_ID, image_version, probe
from tradewind.deploy.environment import MANAGEMENT_PORT
from tradewind.stack.rooms import all_rooms

REPOSITORY = Path(__file__).parents[2]
ROOMS = all_rooms()
SERVICES = [f"{room}-service" for room in ROOMS]
GENERATED = catalogue.files(list(catalogue.GROUPS), ROOMS)
COMPOSE: dict[str, Any] = yaml.safe_load(GENERATED["docker-compose.yml"])
MANIFESTS: list[dict[str, Any]] = [
    document
    for path, text in GENERATED.items()
    if path.startswith("k8s/base/") and not path.endswith("kustomization.yaml")
    for document in yaml.safe_load_all(text)
]


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each["spec"] for each in MANIFESTS if each["kind"] in kinds}


@pytest.mark.parametrize("path", GENERATED)
def test_a_committed_file_is_what_render_writes(path: str) -> None:
    hint = "a generator changed, or a room came: tradewind render all --write ."
    assert (REPOSITORY / path).read_text() == GENERATED[path], hint


def test_there_is_no_other_file_among_them() -> None:
    found = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "k8s").rglob("*.yaml")}
    assert found == {path for path in GENERATED if path.startswith("k8s/")}


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    assert catalogue.write(GENERATED, tmp_path) == list(GENERATED)
    assert catalogue.write(GENERATED, tmp_path) == []


def test_what_is_printed_is_yaml() -> None:
    assert catalogue.printed(catalogue.files(["compose"], ROOMS)) == GENERATED["docker-compose.yml"]
    kubernetes = list(yaml.safe_load_all(catalogue.printed(catalogue.files(["k8s"], ROOMS))))
    assert len(kubernetes) > len(MANIFESTS)
    assert all(document["kind"] for document in kubernetes)


def test_every_room_is_everywhere() -> None:
    assert set(SERVICES) <= set(COMPOSE["services"])
    assert set(SERVICES) == set(of_kind("Deployment", "StatefulSet"))
    scraped = yaml.safe_load(GENERATED["infrastructure/monitoring/prometheus/compose.yml"])["scrape_configs"][0]
    assert set(scraped["dns_sd_configs"][0]["names"]) == set(SERVICES)


def test_prometheus_looks_for_what_pods_have() -> None:
    text = GENERATED["infrastructure/monitoring/prometheus/kubernetes.yml"]
    (job,) = yaml.safe_load(text)["scrape_configs"]
    rules = {rule["source_labels"][0].removeprefix("__meta_kubernetes_pod_"): rule for rule in job["relabel_configs"]}
    namespace = yaml.safe_load(GENERATED["k8s/base/kustomization.yaml"])["namespace"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [namespace]}}]
    for name, spec in of_kind("Deployment", "StatefulSet").items():
        given = spec["template"]["metadata"]["labels"]
        labels = {f"label_{re.sub(r'[^a-z]', '_', label)}": value for label, value in given.items()}
        ports = [port["name"] for port in spec["template"]["spec"]["containers"][0]["ports"]]
        assert labels["label_app_kubernetes_io_part_of"] == rules["label_app_kubernetes_io_part_of"]["regex"]
        assert labels["label_app_kubernetes_io_name"] == name, "which becomes the job"
        assert rules["container_port_name"]["regex"] in ports


def test_services_scale_and_only_the_gateway_is_reached_from_outside() -> None:
    services = COMPOSE["services"]
    assert [name for name, service in services.items() if "container_name" in service] == []
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"gateway-service": ["${TRADEWIND_PORT:-8080}:8080"]}
    assert {name for name in ("mesh", "data") if COMPOSE["networks"][name]["internal"]} == {"mesh", "data"}
    outside = {name for name, service in services.items() if "edge" in service["networks"]}
    assert outside == {"gateway-service", "payment-service", "notification-service", "audit", "psp-sandbox", "mailpit"}
    balanced = [name for name, spec in of_kind("Service").items() if spec.get("type", "ClusterIP") != "ClusterIP"]
    assert balanced == ["gateway"]
    assert [port["targetPort"] for port in of_kind("Service")["gateway"]["ports"]] == ["edge"]


def test_nobody_from_outside_is_let_in_but_at_the_edge() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []}
    for_anybody = {
        port["port"]
        for spec in policies.values()
        for rule in spec["ingress"]
        for port in rule["ports"]
        if "from" not in rule
    }
    assert for_anybody == {"edge"}


def test_every_pod_is_nobody_with_no_rights() -> None:
    for name, spec in of_kind("Deployment", "StatefulSet", "Job").items():
        pod = spec["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False, name
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"], name
            assert not rights["allowPrivilegeEscalation"], name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name


def test_no_secret_is_in_a_file() -> None:
    for path, text in GENERATED.items():
        assert not re.search(r"://[^/\s:]*:(?!PASSWORD@)[^/\s@{]+@", text), path
        assert "BEGIN PRIVATE" not in text, path


def test_the_image_runs_as_the_user_and_is_probed_where_the_services_listen() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    assert f"USER {USER_ID}:{USER_ID}" in text
    assert dockerfile("HEALTHCHECK") == probe(MANAGEMENT_PORT, "/readyz")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}\n" in text
    assert image_version() == project["version"]


def test_the_image_is_built_from_what_it_needs_and_nothing_else() -> None:
    rules = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert [rule for rule in rules if rule and not rule.startswith(("#", "!"))] == ["*", "**/__pycache__"]
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert let_in == {name for names in copied for name in names.split()}
