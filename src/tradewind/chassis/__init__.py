"""What every service is built on: HTTP, PostgreSQL, messaging, identity, health and life cycle. Knows no business word."""
