-- What routes chose, and the calls of a request that failed before the one that ended it.
ALTER TABLE requests
    ADD COLUMN route      text,
    ADD COLUMN choice     json,
    ADD COLUMN attempts   integer,
    ADD COLUMN deployment text;

CREATE TABLE request_attempts (
    request_id      text        NOT NULL,
    number          integer     NOT NULL,
    account_id      text        NOT NULL,
    at              timestamptz NOT NULL,
    position        bigint      NOT NULL,
    deployment      text        NOT NULL,
    model           text        NOT NULL,
    provider        text        NOT NULL,
    upstream_model  text        NOT NULL,
    error_kind      text        NOT NULL,
    error_message   text        NOT NULL,
    upstream_status integer,
    tokens          jsonb       NOT NULL,
    cost_nanos      bigint      NOT NULL,
    duration_ms     bigint      NOT NULL,
    PRIMARY KEY (request_id, number)
);
