-- Questions whose answers are cached, as embeddings: the semantic cache. Nothing of it needs to survive.
-- The table needs no extension, only the comparison does: a database without pgvector, or whose owner may not install
-- it, serves all but the semantic cache, and that too once somebody ran CREATE EXTENSION vector.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector' AND installed_version IS NULL) THEN
        CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
    END IF;
EXCEPTION WHEN insufficient_privilege OR invalid_schema_name OR undefined_file THEN
    RAISE NOTICE 'pgvector was not installed (%). The semantic cache stays off without it.', SQLERRM;
END
$$;

CREATE TABLE semantic_cache (
    place      text        NOT NULL,
    digest     text        NOT NULL,
    scope      text        NOT NULL,
    embedding  real[]      NOT NULL,
    stored_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (place, digest)
);
ALTER TABLE semantic_cache ALTER COLUMN embedding SET STORAGE EXTERNAL; -- floats do not compress
CREATE INDEX semantic_cache_newest ON semantic_cache (place, stored_at DESC);
CREATE INDEX semantic_cache_by_scope ON semantic_cache (scope, stored_at DESC);
CREATE INDEX semantic_cache_expired ON semantic_cache (expires_at);
