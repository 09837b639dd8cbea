-- Days on which a lane bounced: few of all, and health looks at the last seven only.
CREATE INDEX ix_credential_days_bounced ON credential_days (day, smtp_credential_id) WHERE bounced > 0;
