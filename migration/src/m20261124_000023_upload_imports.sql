-- A table of contacts as text, from its upload until it is read. `contact_import_id` is null while the client uploads,
-- and `bytes`, the length of the text, 0. `position` is the byte at which the next record begins; `columns` are the names of the header.
CREATE TABLE import_uploads (
    id                {uuid} PRIMARY KEY,
    account_id        {uuid} NOT NULL REFERENCES accounts (id),
    contact_import_id {uuid},
    columns           {json} NOT NULL,
    bytes             bigint NOT NULL,
    position          bigint NOT NULL,
    created_at        bigint NOT NULL,
    CONSTRAINT uq_import_uploads_account UNIQUE (account_id, id),
    CONSTRAINT uq_import_uploads_import UNIQUE (account_id, contact_import_id),
    CONSTRAINT fk_import_uploads_import FOREIGN KEY (account_id, contact_import_id)
        REFERENCES contact_imports (account_id, id)
);
-- The sweeper's way to uploads that were broken off.
CREATE INDEX ix_import_uploads_unfinished ON import_uploads (created_at) WHERE contact_import_id IS NULL;

-- The text in pieces of one size but for the last, numbered from 0. Each goes with the slice that read it to its end.
CREATE TABLE import_chunks (
    account_id       {uuid} NOT NULL,
    import_upload_id {uuid} NOT NULL,
    number           bigint NOT NULL,
    body             {bytes} NOT NULL,
    PRIMARY KEY (account_id, import_upload_id, number),
    CONSTRAINT fk_import_chunks_upload FOREIGN KEY (account_id, import_upload_id)
        REFERENCES import_uploads (account_id, id)
);
