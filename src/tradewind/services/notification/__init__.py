"""notification-service tells customers what happened, in the app and by mail.

Owns:   notification, mail, contact
Serves: GET /v1/notifications, POST /v1/notifications/{id}/read
Emits:  nothing
Hears:  auth, order, payment
Calls:  an SMTP server
"""
