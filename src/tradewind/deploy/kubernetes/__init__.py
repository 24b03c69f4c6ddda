"""k8s/: a kustomize base for managed engines, and the overlay `dev` that brings its own.

pods.py        how our image runs in a pod: probes, rights, settings, secrets
rooms.py       a room: Deployment, Service, disruption budget, autoscaling
gateway.py     the control plane with its Envoy, the public Service
migrate.py     the migration Job
audit.py       the audit as a CronJob
policies.py    who may talk to whom
base.py        all of it, file by file
dev.py         the overlay
"""
