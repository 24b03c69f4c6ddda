"""The audit as a CronJob: a Job that fails says so to whoever watches Jobs, and its log is the report."""

from __future__ import annotations

from tradewind.deploy.containers import Container
from tradewind.deploy.kubernetes.pods import TASK, Manifest, account, manifest, pod

SCHEDULE = "*/15 * * * *"
DEADLINE_S = 800
"""Less than the time between two."""

KEPT_S = 86_400
"""So long a failed Job stays, and so long its alert: whoever has seen to it deletes the Job."""

KEPT = 3
"""Finished Jobs of either end that stay to be looked at."""


def audit_manifests(container: Container) -> list[Manifest]:
    """The CronJob that `container` is, and its account."""
    # Not tried again: a violation does not mend itself, and the next one comes by itself.
    template = pod(container, TASK, restartPolicy="Never")
    job = {
        "ttlSecondsAfterFinished": KEPT_S,
        "backoffLimit": 0,
        "activeDeadlineSeconds": DEADLINE_S,
        "template": template,
    }
    cron = manifest(
        "batch/v1", "CronJob", container.name, TASK,
        spec={
            "schedule": SCHEDULE,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 300,
            "successfulJobsHistoryLimit": KEPT,
            "failedJobsHistoryLimit": KEPT,
            "jobTemplate": {"spec": job},
        },
    )  # fmt: skip
    return [account(container.name, TASK), cron]
