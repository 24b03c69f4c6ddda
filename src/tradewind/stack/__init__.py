"""This machine: the engines and services as processes of one supervisor, with no Docker, no root and no account.

`topology.py` is the page to read first: what runs, in which order, with which environment.
`supervisor.py` keeps it running, `state.py` says where it all lives, and the engines (`postgres.py`, `valkey.py`)
also work by themselves, for the tests.
"""
