-- What came back for a delivery while it was being sent, `arrived` or `failed`: it says what became of it if no outcome comes.
-- No index names it, and no CHECK does, for which either database would look through all rows.
ALTER TABLE deliveries ADD COLUMN heard text;
