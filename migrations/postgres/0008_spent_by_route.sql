-- What was charged to an account's requests to a route since some time. Of what an end does not change, so that ends
-- need not touch it.
CREATE INDEX requests_by_route ON requests (account_id, route, admitted_at) WHERE route IS NOT NULL;
