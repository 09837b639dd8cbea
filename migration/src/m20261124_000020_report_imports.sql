-- What an import did with its rows, kept so that it can be asked for again. `contact_count` is how many contacts it has
-- now: changed with them, never counted on request. `invalid` holds the first rows that were left out.
ALTER TABLE contact_imports ADD COLUMN contact_count bigint NOT NULL DEFAULT 0;
ALTER TABLE contact_imports ADD COLUMN processed_rows bigint NOT NULL DEFAULT 0;
ALTER TABLE contact_imports ADD COLUMN skipped bigint NOT NULL DEFAULT 0;
ALTER TABLE contact_imports ADD COLUMN invalid_count bigint NOT NULL DEFAULT 0;
ALTER TABLE contact_imports ADD COLUMN invalid {json};
ALTER TABLE contact_imports ADD COLUMN failure text;
UPDATE contact_imports SET processed_rows = record_count, contact_count = (SELECT count(*) FROM contacts c
    WHERE c.account_id = contact_imports.account_id AND c.contact_import_id = contact_imports.id AND c.deleted_at IS NULL);
