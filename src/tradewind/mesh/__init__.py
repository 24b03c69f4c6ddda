"""What decides for Envoy: who is there, which path goes where, under which policy, and who may say so.

Owns: the registry of instances, the route table, the policy table, the xDS answers and Envoy's bootstrap.
Knows nothing of services but what they declare when they register; every request itself is Envoy's work.
"""
