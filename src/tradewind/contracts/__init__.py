"""The only words services share: the events each producer publishes, and the wire types they use.

One file per producer, and no code. A published version only ever gains optional fields; what would break a reader becomes the
next version (`order.placed.v2`) beside the old one. `make check` holds them against the schemas in `docs/reference/events`.
"""
