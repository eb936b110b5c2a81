-- `writers` is the last event number of each writer as of `resume_position`: what a new owner must know to see a
-- retry as one. The owner renews `owned_until`; should two believe they own it, the ledger still charges once.
ALTER TABLE settlement
    ADD COLUMN writers     jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN owner       text        NOT NULL DEFAULT '',
    ADD COLUMN owned_until timestamptz NOT NULL DEFAULT '-infinity';
