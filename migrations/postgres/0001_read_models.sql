-- The read models and what keeps them: everything here is derived from the log and can be built again.
-- Names carry no schema: the connection's search_path decides, so that a rebuild can stand beside the live tables.

-- Where each projection stands in each stream. A row is a range of buckets, owned by one worker at a time.
CREATE TABLE checkpoints (
    projection  text        NOT NULL,
    stream      text        NOT NULL,
    bucket_from integer     NOT NULL,
    bucket_to   integer     NOT NULL,
    position    bigint      NOT NULL DEFAULT 0,
    owner       text,
    owned_until timestamptz,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    fresh_at    timestamptz NOT NULL DEFAULT 'epoch',
    PRIMARY KEY (projection, stream, bucket_from),
    CHECK (0 <= bucket_from AND bucket_from < bucket_to AND bucket_to <= 256)
) WITH (fillfactor = 50);

CREATE TABLE workers (
    worker     text        PRIMARY KEY,
    seen_until timestamptz NOT NULL
);

-- The last event number seen of each writer of the request log: what a retry wrote again is not counted again.
CREATE TABLE writer_positions (
    projection  text        NOT NULL,
    bucket_from integer     NOT NULL,
    source      text        NOT NULL,
    sequence    bigint      NOT NULL,
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (projection, bucket_from, source)
) WITH (fillfactor = 50);

-- Requests that were admitted and have not ended: only an end of one of these counts.
CREATE TABLE open_requests (
    projection text   NOT NULL,
    request_id text   NOT NULL,
    bucket     integer NOT NULL,
    position   bigint NOT NULL,
    PRIMARY KEY (projection, request_id)
);

-- Events that a projection could not take, and the later ones of the same account.
CREATE TABLE parked_events (
    projection text        NOT NULL,
    stream     text        NOT NULL,
    position   bigint      NOT NULL,
    index      integer     NOT NULL,
    account_id text        NOT NULL,
    bucket     integer     NOT NULL,
    type       text        NOT NULL,
    subject    text        NOT NULL,
    time       timestamptz NOT NULL,
    raw        bytea       NOT NULL,
    error      text        NOT NULL,
    is_cause   boolean     NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, stream, position, index)
);
CREATE INDEX parked_events_by_account ON parked_events (projection, account_id);

CREATE TABLE usage (
    account_id     text        NOT NULL,
    hour           timestamptz NOT NULL,
    key_id         text        NOT NULL,
    model          text        NOT NULL,
    provider       text        NOT NULL,
    requests       bigint      NOT NULL,
    failed         bigint      NOT NULL,
    input          bigint      NOT NULL,
    cached_input   bigint      NOT NULL,
    cache_write_5m bigint      NOT NULL,
    cache_write_1h bigint      NOT NULL,
    output         bigint      NOT NULL,
    reasoning      bigint      NOT NULL,
    audio_input    bigint      NOT NULL,
    audio_output   bigint      NOT NULL,
    image_input    bigint      NOT NULL,
    cost_nanos     bigint      NOT NULL,
    PRIMARY KEY (account_id, hour, key_id, model, provider)
);

CREATE TABLE requests (
    request_id        text        PRIMARY KEY,
    account_id        text        NOT NULL,
    key_id            text,
    user_id           text,
    lease_id          text        NOT NULL,
    endpoint          text        NOT NULL,
    model             text        NOT NULL,
    provider          text        NOT NULL,
    upstream_model    text        NOT NULL,
    price_id          text        NOT NULL,
    stream            boolean     NOT NULL,
    status            text        NOT NULL,
    served_model      text,
    admitted_at       timestamptz NOT NULL,
    admitted_position bigint      NOT NULL,
    reserved_nanos    bigint      NOT NULL,
    input_estimate    bigint      NOT NULL,
    ended_at          timestamptz,
    ended_position    bigint,
    cost_nanos        bigint,
    evidence          text,
    tokens            jsonb,
    usage             json,
    duration_ms       bigint,
    first_token_ms    bigint,
    client_gone       boolean,
    finish_reason     text,
    error_kind        text,
    error_message     text,
    upstream_status   integer
) WITH (fillfactor = 80);
CREATE INDEX requests_by_account ON requests (account_id, admitted_position DESC, request_id DESC);

CREATE TABLE balances (
    account_id    text        PRIMARY KEY,
    balance_nanos bigint      NOT NULL,
    leased_nanos  bigint      NOT NULL,
    open_leases   integer     NOT NULL,
    settled_to    bigint      NOT NULL,
    position      bigint      NOT NULL,
    changed_at    timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE ledger_entries (
    position            bigint      PRIMARY KEY,
    account_id          text        NOT NULL,
    entry_id            text        NOT NULL,
    sequence            bigint      NOT NULL,
    kind                text        NOT NULL,
    at                  timestamptz NOT NULL,
    actor               text        NOT NULL,
    reason              text        NOT NULL,
    amount_nanos        bigint      NOT NULL,
    balance_after_nanos bigint      NOT NULL,
    legs                jsonb       NOT NULL,
    from_position       bigint,
    to_position         bigint,
    by_model            jsonb,
    hash                text        NOT NULL,
    prevhash            text        NOT NULL
);
CREATE INDEX ledger_entries_by_account ON ledger_entries (account_id, position DESC);

CREATE TABLE accounts (
    account_id text        PRIMARY KEY,
    owner      text        NOT NULL,
    opened_at  timestamptz NOT NULL
);

-- Personal data stays sealed, as it is in the log.
CREATE TABLE users (
    user_id         text        PRIMARY KEY,
    account_id      text        NOT NULL,
    email_sealed    text        NOT NULL,
    name_sealed     text        NOT NULL,
    role            text        NOT NULL,
    registered_at   timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL
);
CREATE INDEX users_by_account ON users (account_id);

CREATE TABLE keys (
    key_id     text        PRIMARY KEY,
    account_id text        NOT NULL,
    user_id    text        NOT NULL,
    name       text        NOT NULL,
    prefix     text        NOT NULL,
    last4      text        NOT NULL,
    created_at timestamptz NOT NULL,
    position   bigint      NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX keys_by_account ON keys (account_id, position DESC);

CREATE TABLE logins (
    session_id   text        PRIMARY KEY,
    user_id      text        NOT NULL,
    account_id   text        NOT NULL,
    opened_at    timestamptz NOT NULL,
    position     bigint      NOT NULL,
    expires_at   timestamptz NOT NULL,
    refreshed_at timestamptz,
    refreshes    bigint      NOT NULL DEFAULT 0,
    ended_at     timestamptz,
    end_reason   text
);
CREATE INDEX logins_by_user ON logins (account_id, user_id, position DESC);

CREATE TABLE models (
    model             text        PRIMARY KEY,
    provider          text        NOT NULL,
    upstream_model    text        NOT NULL,
    context_length    bigint      NOT NULL,
    max_output_tokens bigint      NOT NULL,
    owned_by          text        NOT NULL,
    input_modalities  text[]      NOT NULL,
    listed_at         timestamptz NOT NULL
);

CREATE TABLE prices (
    price_id    text        PRIMARY KEY,
    model       text        NOT NULL,
    valid_from  timestamptz NOT NULL,
    known_since timestamptz NOT NULL,
    rates       jsonb       NOT NULL
);
CREATE INDEX prices_by_model ON prices (model, valid_from DESC, known_since DESC);

-- The second copy of the log: every message as it was stored.
CREATE TABLE event_archive (
    stream   text        NOT NULL,
    position bigint      NOT NULL,
    subject  text        NOT NULL,
    time     timestamptz NOT NULL,
    raw      bytea       NOT NULL,
    PRIMARY KEY (stream, position)
);

-- Kept by settlement, one row for each range of buckets. `evt_position` is the log position of its last charge.
CREATE TABLE settlement (
    bucket_from      integer     PRIMARY KEY,
    bucket_to        integer     NOT NULL,
    resume_position  bigint      NOT NULL DEFAULT 0,
    settled_position bigint      NOT NULL DEFAULT 0,
    evt_position     bigint      NOT NULL DEFAULT 0,
    oldest_open_at   timestamptz,
    open_requests    bigint      NOT NULL DEFAULT 0,
    open_leases      bigint      NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now()
);
