"""What services have published about their events, as documents: a JSON Schema for each version, and AsyncAPI for all.

A version that was published is a promise to everybody who reads it. Its schema is kept in the tree, and `make check` holds
the code against it: `changes` names whatever would break a reader. `python -m tradewind.published` publishes what is new.
"""
