//! Against Postfix and Dovecot, which `.ci/mail` starts: run by it alone.
