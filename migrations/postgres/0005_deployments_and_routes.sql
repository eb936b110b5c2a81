-- Deployments and routes of the catalogue, those that were removed too: requests that they served still name them.
CREATE TABLE deployments (
    name           text        PRIMARY KEY,
    model          text        NOT NULL,
    provider       text        NOT NULL,
    upstream_model text        NOT NULL,
    region         text,
    weight         integer     NOT NULL,
    priority       bigint      NOT NULL,
    set_at         timestamptz NOT NULL,
    removed_at     timestamptz
);

CREATE TABLE routes (
    name        text        PRIMARY KEY,
    deployments text[]      NOT NULL,
    strategy    text        NOT NULL,
    fallbacks   text[]      NOT NULL,
    cache       jsonb,
    set_at      timestamptz NOT NULL,
    removed_at  timestamptz
);
