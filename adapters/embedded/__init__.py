"""NATS, PostgreSQL and Valkey out of wheels, as child processes that end with us."""
