-- Whether two calls of a request ran side by side, and whether an attempt's tokens are its provider's own report.
ALTER TABLE requests ADD COLUMN hedged boolean;
ALTER TABLE request_attempts ADD COLUMN evidence text NOT NULL DEFAULT 'reported';
