-- To look up what a row refers to is a quarter of what importing it costs, by a query for each. Whoever stores many may leave
-- that to its commit, while the next are stored (`SET CONSTRAINTS … DEFERRED`); nobody else sees a difference.
ALTER TABLE contacts ALTER CONSTRAINT fk_contacts_import DEFERRABLE INITIALLY IMMEDIATE;
