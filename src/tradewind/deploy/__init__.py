"""Deployment files, generated from the code: which rooms there are, and what their settings classes read.

    environment.py    what a container reads: a room's settings, each answered with a value or a secret
    containers.py     which containers there are
    secret_files.py   the passwords and keys behind them, one file each
    compose.py        docker-compose.yml
    kubernetes/       k8s/: a base for managed engines, and an overlay that brings its own
    scraping.py       what Prometheus asks, in compose and in Kubernetes
    dashboard.py      the Grafana dashboard
    catalogue.py      all files by path, which is what `tradewind render` prints and the tests compare

The committed files are what this package writes: change the generator, then `tradewind render all --write .`
"""
