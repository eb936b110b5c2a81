-- What was charged to requests that asked for a route, by the hour of their admission and who answered. Summed here once,
-- it need not be summed request by request when it is asked for: so the index that was for that goes.
CREATE TABLE route_spend (
    account_id text        NOT NULL,
    route      text        NOT NULL,
    hour       timestamptz NOT NULL,
    model      text        NOT NULL,
    provider   text        NOT NULL,
    deployment text        NOT NULL,
    cost_nanos bigint      NOT NULL,
    PRIMARY KEY (account_id, route, hour, model, provider, deployment)
) WITH (fillfactor = 70);

-- Requests to a route that were admitted and have not ended: an end does not say the route.
CREATE TABLE open_routed_requests (
    request_id text        PRIMARY KEY,
    account_id text        NOT NULL,
    route      text        NOT NULL,
    hour       timestamptz NOT NULL
);

DROP INDEX requests_by_route;
