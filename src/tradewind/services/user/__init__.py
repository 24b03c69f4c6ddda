"""user-service: who the users are, and where they live.

Owns    profile, address (database user_service)
Serves  GET /v1/users/me, PATCH /v1/users/me, GET /v1/users/me/addresses, POST /v1/users/me/addresses,
        GET /v1/users/me/addresses/{id}, PUT /v1/users/me/addresses/{id}, PATCH /v1/users/me/addresses/{id},
        DELETE /v1/users/me/addresses/{id}, GET /v1/users, GET /v1/users/{id}
Emits   user.profile_changed.v1 (topic user)
Hears   user.registered.v1, user.roles_changed.v1, user.disabled.v1, user.enabled.v1
Calls   nobody
"""
