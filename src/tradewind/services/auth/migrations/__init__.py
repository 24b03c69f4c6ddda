"""The history of auth-service's tables, written as SQL."""
