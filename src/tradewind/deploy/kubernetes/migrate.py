"""The migration Job: a name a version, since a Job cannot be changed."""

from __future__ import annotations

from tradewind.deploy.containers import Container, image_version
from tradewind.deploy.kubernetes.pods import TASK, Manifest, account, manifest, pod

KEPT_S = 600
"""How long a finished Job stays to be looked at."""

DEADLINE_S = 1800


def migrate_manifests(container: Container) -> list[Manifest]:
    """The Job that `container` is, and its account."""
    job = manifest(
        "batch/v1", "Job", container.name, TASK,
        spec={
            "ttlSecondsAfterFinished": KEPT_S,
            "activeDeadlineSeconds": DEADLINE_S,
            "backoffLimit": 10,
            "template": pod(container, TASK, restartPolicy="OnFailure"),
        },
    )  # fmt: skip
    job["metadata"]["name"] = job_name(container)
    return [account(container.name, TASK), job]


def job_name(container: Container) -> str:
    """`migrate-0-1-0`."""
    return f"{container.name}-{image_version().replace('.', '-').replace('+', '-').lower()}"
