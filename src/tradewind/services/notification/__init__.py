"""notification-service: tells customers what happened, in the app and by mail.

Owns    notification, mail, contact (database notification_service)
Serves  GET /v1/notifications, POST /v1/notifications/{id}/read
Emits   nothing
Hears   user.registered.v1, user.profile_changed.v1, order.confirmed.v1, order.cancelled.v1, order.shipped.v1,
        order.delivered.v1, payment.refunded.v1, payment.requires_action.v1
Calls   a mail server

A mail leaves at least once, under a Message-ID that never changes.
"""
