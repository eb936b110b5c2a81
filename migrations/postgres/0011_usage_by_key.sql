-- migrate: outside a transaction
-- What was charged to a key since some time. `usage` is written to while this is built; what an earlier try that was
-- interrupted left of it is of no use.
DROP INDEX CONCURRENTLY IF EXISTS usage_by_key;
CREATE INDEX CONCURRENTLY usage_by_key ON usage (key_id, hour);
