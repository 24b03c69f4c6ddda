"""auth-service: who may come in, and as what.

Owns    account, session (database auth_service)
Serves  POST /v1/auth/register, POST /v1/auth/login, POST /v1/auth/refresh, POST /v1/auth/logout,
        GET /v1/auth/sessions, DELETE /v1/auth/sessions/{id}, POST /v1/auth/password/change,
        PUT /v1/users/{id}/roles, POST /v1/users/{id}/disable, POST /v1/users/{id}/enable,
        GET /.well-known/jwks.json
Emits   user.registered.v1, user.roles_changed.v1, user.disabled.v1, user.enabled.v1 (topic auth)
Hears   user.profile_changed.v1 (so that tokens carry the name a user goes by)
Calls   nobody
"""
