"""The gateway: the control plane of the mesh, and the few public pages that belong to no single service.

Owns: the registry of instances (a file, no database), the last known public keys.
Serves: /openapi.json, /docs, /.well-known/jwks.json through Envoy; the registry, xDS and /v1/mesh on the control port.
Emits: nothing. Hears: nothing.
Calls: auth-service for its keys, Envoy's admin for what it made of its instructions.
"""
