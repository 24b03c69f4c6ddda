"""The history of user-service's tables, written as SQL."""
