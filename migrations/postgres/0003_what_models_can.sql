-- What a model is and can do, and what it costs in a batch: as told in the log since models are told that much.
ALTER TABLE models
    ADD COLUMN kind         text   NOT NULL DEFAULT 'chat',
    ADD COLUMN capabilities text[] NOT NULL DEFAULT '{}';
ALTER TABLE prices ADD COLUMN batch jsonb;
