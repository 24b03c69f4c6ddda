"""What Prometheus asks: every management port, found by name in compose and by label in Kubernetes.

Both ways end in the same two labels: `job` is the service, `instance` the process. The dashboard and the alerts know no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tradewind.deploy.environment import MANAGEMENT_PORT
from tradewind.deploy.kubernetes.production import NAMESPACE
from tradewind.deploy.yaml_text import Line, documents

INTERVAL = "10s"
_SAID = "Written by `tradewind render monitoring --write .`, and a test holds it to that."


def compose_scraping(rooms: Sequence[str]) -> str:
    """The configuration of a Prometheus on the network `mesh` of docker-compose.yml."""
    return _configuration(
        {
            "job_name": "services",
            # The name of a compose service stands for all its containers.
            "dns_sd_configs": [
                {
                    "names": [f"{room}-service" for room in rooms],
                    "type": "A",
                    "port": MANAGEMENT_PORT,
                    "refresh_interval": "5s",
                }
            ],
            "relabel_configs": [_label("__meta_dns_name", "job")],
        }
    )


def kubernetes_scraping() -> str:
    """The configuration of a Prometheus in the cluster, in a namespace that the network policies let in."""
    return _configuration(
        {
            "job_name": "services",
            "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": Line([NAMESPACE])}}],
            "relabel_configs": [
                _only("__meta_kubernetes_pod_label_app_kubernetes_io_part_of", "tradewind"),
                _only("__meta_kubernetes_pod_container_port_name", "management"),
                _label("__meta_kubernetes_pod_label_app_kubernetes_io_name", "job"),
                _label("__meta_kubernetes_pod_name", "instance"),
            ],
        }
    )


def _configuration(job: dict[str, Any]) -> str:
    return documents(
        _SAID,
        [
            {
                "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
                "rule_files": Line(["alerts.yml"]),
                "scrape_configs": [job],
            }
        ],
    )


def _label(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": Line([source]), "target_label": target}


def _only(source: str, value: str) -> dict[str, Any]:
    return {"source_labels": Line([source]), "regex": value, "action": "keep"}
