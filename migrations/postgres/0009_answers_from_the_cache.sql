-- Of requests that an earlier answer was enough for: how near the question of that answer is, and what it saved.
ALTER TABLE requests
    ADD COLUMN similarity  double precision,
    ADD COLUMN saved_nanos bigint;
