"""gateway-service: the control plane of the mesh, and the few public pages that belong to no single service.

Owns    the registry of instances and the last known public keys (files, no database)
Serves  GET /openapi.json, GET /docs, GET /.well-known/jwks.json
Emits   nothing
Hears   nothing
Calls   auth-service (for its keys), Envoy's admin (for what it made of its instructions)

Through Envoy it serves what is listed; the registry, xDS and /v1/mesh are on the control port, which no edge route reaches.
"""
