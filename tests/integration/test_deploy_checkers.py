"""The deployment files before the programs that will read them. What this machine lacks is reported as not run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.compose_here import BIN, REPOSITORY, resolved
from tradewind.deploy.containers import every_container
from tradewind.deploy.secret_files import secret_names, write_secrets
from tradewind.mesh.envoy_binary import find_envoy
from tradewind.mesh.static_config import refusal
from tradewind.stack.rooms import all_rooms

PROMETHEUS = REPOSITORY / "infrastructure/monitoring/prometheus"


def run(*argv: str | Path, **environ: str) -> str:
    """The program's output; what it complained about is in the assertion."""
    done = subprocess.run(
        argv, cwd=REPOSITORY, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def validated(text: str, folder: Path) -> Sequence[str]:
    """Hold manifests against the schemas of Kubernetes, strictly: a misspelt field is refused. A line a manifest."""
    path = folder / "manifests.yaml"
    path.write_text(text)
    return run(BIN / "kubernetes-validate", "--strict", path).splitlines()


@pytest.mark.parametrize("profile", [[], ["--profile", "dev"], ["--profile", "audit"]])
def test_compose_accepts_its_file(profile: list[str]) -> None:
    run(BIN / "docker-compose", *profile, "config", "-q")


def test_compose_accepts_monitoring_beside_it() -> None:
    model = resolved("secrets", "infrastructure/monitoring/docker-compose.yml")
    mounts = [mount["source"] for name in ("prometheus", "grafana") for mount in model["services"][name]["volumes"]]
    assert [path for path in mounts if path.startswith("/") and not Path(path).exists()] == []


def test_kubernetes_accepts_the_base(tmp_path: Path) -> None:
    text = run(BIN / "kubectl", "kustomize", "k8s/base")
    assert len(validated(text, tmp_path)) == text.count("\nkind: ")
    validated((REPOSITORY / "k8s/secret.example.yaml").read_text(), tmp_path)


def test_kubernetes_accepts_the_overlay(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "k8s", tmp_path / "k8s", ignore=shutil.ignore_patterns("secrets"))
    overlay = tmp_path / "k8s/overlays/dev"
    write_secrets(overlay / "secrets", secret_names(every_container(all_rooms())), all_rooms())
    text = run(BIN / "kubectl", "kustomize", overlay)
    validated(text, tmp_path)
    assert "--provision" in text
    assert "secretName: tradewind\n" not in text, "every pod mounts the generated Secret"


def test_kubernetes_refuses_a_misspelt_field(tmp_path: Path) -> None:
    text = run(BIN / "kubectl", "kustomize", "k8s/base")
    with pytest.raises(AssertionError, match="replica'"):
        validated(text.replace("replicas: 2", "replica: 2"), tmp_path)


def test_hadolint_accepts_the_dockerfile() -> None:
    run(BIN / "hadolint", "Dockerfile")


def test_envoy_accepts_its_bootstrap(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_text(run(BIN / "tradewind", "render", "envoy"))
    listeners = json.loads(bootstrap.read_text())["static_resources"]["listeners"]
    assert {each["name"] for each in listeners} == {"edge", "egress"}
    assert "/dev/stdout" not in bootstrap.read_text(), "a container's user may write to it, and not open it"
    run(find_envoy(), "--mode", "validate", "--config-path", bootstrap, "--log-level", "error")


def test_envoy_accepts_all_of_its_configuration_in_one_file(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[services.order-service]\nbalancing = "ring-hash"\n')
    run(BIN / "tradewind", "render", "envoy", "--write", tmp_path / "made", GATEWAY_POLICY_FILE=str(policy))
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert names == {"bootstrap.json", "clusters.json", "endpoints.json", "routes.json", "static.json"}
    static = tmp_path / "made/static.json"
    clusters = {each["name"]: each for each in json.loads(static.read_text())["static_resources"]["clusters"]}
    assert clusters["order-service"]["lb_policy"] == "RING_HASH"
    for name in ("static.json", "bootstrap.json"):
        run(find_envoy(), "--mode", "validate", "--config-path", tmp_path / "made" / name, "--log-level", "error")
    broken = json.loads(static.read_text())
    broken["static_resources"]["clusters"][-1]["lb_policy"] = "NONE_OF_THEM"
    assert "NONE_OF_THEM" in refusal(find_envoy(), broken)
    policy.write_text('[services.order-service]\nbalancing = "rind-hash"\n')
    with pytest.raises(AssertionError, match="policy-invalid"):
        run(BIN / "tradewind", "render", "envoy", "--write", tmp_path / "made", GATEWAY_POLICY_FILE=str(policy))


def test_render_envoy_names_a_wrong_variable() -> None:
    with pytest.raises(AssertionError, match="GATEWAY_EDGE_PORT"):
        run(BIN / "tradewind", "render", "envoy", GATEWAY_EDGE_PORT="eighty")


@pytest.mark.skipif(not shutil.which("promtool"), reason="not run: no promtool on this machine (Debian: prometheus)")
def test_prometheus_accepts_rules_and_configuration() -> None:
    run("promtool", "check", "rules", PROMETHEUS / "alerts.yml")
    run("promtool", "test", "rules", PROMETHEUS / "alerts.test.yml")
    run("promtool", "check", "config", PROMETHEUS / "compose.yml")
    # Debian builds it without Kubernetes' service discovery: kubernetes.yml is read in tests/unit/test_deploy_files.py.
