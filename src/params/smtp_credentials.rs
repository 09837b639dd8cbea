//! Bodies of `smtp_credentials`, alone and inside a campaign.

use serde::Deserialize;

use super::hosts::Hosts;
use crate::{
    crypto::Secret,
    errors::{ApiResult, Failures, Reason},
    http::{
        Prepare,
        json::{double_option, object},
    },
    models::{
        EmailAddress, HeaderText,
        smtp_credentials::{CredentialChanges, ImapChange, MailServer, Model, NewCredential},
    },
    state::AppState,
};

/// Longest user name and password, in characters.
const LOGIN_CHARS: usize = 1_000;
/// Most first steps a day.
const MOST_A_DAY: i64 = 100_000;

/// `{"smtp_credential": {…}}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body<T: for<'a> Deserialize<'a>> {
    #[serde(deserialize_with = "object")]
    smtp_credential: T,
}

/// A credential to be made, as it came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    label: Option<String>,
    smtp_host: Option<String>,
    smtp_port: Option<i64>,
    smtp_username: Option<String>,
    smtp_password: Option<Secret>,
    from_name: Option<String>,
    from_email: Option<String>,
    daily_limit: Option<i64>,
    imap_host: Option<String>,
    imap_port: Option<i64>,
    imap_username: Option<String>,
    imap_password: Option<Secret>,
}

impl Credential {
    /// The hosts that it names.
    pub(super) fn hosts(&self) -> [Option<&str>; 2] {
        [self.smtp_host.as_deref(), self.imap_host.as_deref()]
    }

    /// Checks every field.
    pub(super) fn check(self, failures: &mut Failures, hosts: &Hosts) -> Option<NewCredential> {
        let label = check_label(failures, self.label);
        let smtp = Server {
            host: self.smtp_host,
            port: self.smtp_port,
            username: self.smtp_username,
            password: self.smtp_password,
        };
        let smtp = smtp.check(failures, "smtp", hosts);
        let from_name = check_name(failures, self.from_name);
        let from_email = check_email(failures, self.from_email);
        let daily_limit = check_limit(failures, self.daily_limit);
        let imap = Server {
            host: self.imap_host,
            port: self.imap_port,
            username: self.imap_username,
            password: self.imap_password,
        };
        let imap = (!imap.is_absent()).then(|| imap.check(failures, "imap", hosts));
        Some(NewCredential {
            label,
            smtp: smtp?,
            from_name: from_name?,
            from_email: from_email?,
            daily_limit: daily_limit?,
            imap: imap.flatten(),
        })
    }
}

impl Prepare for Body<Credential> {
    type Ready = ApiResult<NewCredential>;

    async fn prepare(self, state: &AppState) -> Self::Ready {
        let hosts = Hosts::look_up(&state.dialer, self.smtp_credential.hosts().into_iter()).await;
        let mut failures = Failures::new();
        let checked = self.smtp_credential.check(&mut failures, &hosts);
        failures.finish(checked)
    }
}

/// The four fields of a mail server.
#[derive(Debug)]
struct Server {
    host: Option<String>,
    port: Option<i64>,
    username: Option<String>,
    password: Option<Secret>,
}

impl Server {
    const fn is_absent(&self) -> bool {
        self.host.is_none() && self.port.is_none() && self.username.is_none() && self.password.is_none()
    }

    fn check(self, failures: &mut Failures, protocol: &str, hosts: &Hosts) -> Option<MailServer> {
        let host = hosts.check(failures, &format!("{protocol}_host"), self.host.as_deref().unwrap_or(""));
        let port = check_port(failures, &format!("{protocol}_port"), self.port);
        let username = check_username(failures, &format!("{protocol}_username"), self.username);
        let password = check_password(failures, &format!("{protocol}_password"), self.password);
        Some(MailServer { host: host?, port: port?, username: username?, password: password? })
    }
}

/// Fields of a credential to be changed, as they came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "a PATCH tells absent from null")]
pub struct Changes {
    #[serde(default, deserialize_with = "double_option")]
    label: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    smtp_host: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    smtp_port: Option<Option<i64>>,
    #[serde(default, deserialize_with = "double_option")]
    smtp_username: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    smtp_password: Option<Option<Secret>>,
    #[serde(default, deserialize_with = "double_option")]
    from_name: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    from_email: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    daily_limit: Option<Option<i64>>,
    #[serde(default, deserialize_with = "double_option")]
    imap_host: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    imap_port: Option<Option<i64>>,
    #[serde(default, deserialize_with = "double_option")]
    imap_username: Option<Option<String>>,
    #[serde(default, deserialize_with = "double_option")]
    imap_password: Option<Option<Secret>>,
}

/// Changes whose hosts are looked up.
#[derive(Debug)]
pub struct PreparedChanges {
    given: Changes,
    hosts: Hosts,
}

impl Prepare for Body<Changes> {
    type Ready = PreparedChanges;

    async fn prepare(self, state: &AppState) -> PreparedChanges {
        let given = self.smtp_credential;
        let named = [given.smtp_host.as_ref(), given.imap_host.as_ref()];
        let named = named.into_iter().map(|host| host.and_then(|host| host.as_deref()));
        let hosts = Hosts::look_up(&state.dialer, named).await;
        PreparedChanges { given, hosts }
    }
}

impl PreparedChanges {
    /// Checks them against the credential as it is: its IMAP fields are all there or none is, afterwards as well.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn parse(self, row: &Model) -> ApiResult<CredentialChanges> {
        let (given, hosts, mut found) = (self.given, self.hosts, Failures::new());
        let failures = &mut found;
        let mut changes = CredentialChanges {
            label: given.label.map(|label| check_label(failures, label)),
            smtp_host: given
                .smtp_host
                .and_then(|host| hosts.check(failures, "smtp_host", host.as_deref().unwrap_or(""))),
            smtp_port: given.smtp_port.and_then(|port| check_port(failures, "smtp_port", port)),
            smtp_username: given
                .smtp_username
                .and_then(|name| check_username(failures, "smtp_username", name)),
            smtp_password: given
                .smtp_password
                .and_then(|secret| check_password(failures, "smtp_password", secret)),
            from_name: given.from_name.and_then(|name| check_name(failures, name)),
            from_email: given.from_email.and_then(|email| check_email(failures, email)),
            daily_limit: given.daily_limit.and_then(|limit| check_limit(failures, limit)),
            imap: ImapChange::default(),
        };
        let imap = (given.imap_host, given.imap_port, given.imap_username, given.imap_password);
        changes.imap = check_imap(failures, imap, &hosts, row);
        found.finish(Some(changes))
    }
}

type ImapFields =
    (Option<Option<String>>, Option<Option<i64>>, Option<Option<String>>, Option<Option<Secret>>);

fn check_imap(failures: &mut Failures, given: ImapFields, hosts: &Hosts, row: &Model) -> ImapChange {
    let (host, port, username, password) = given;
    let kept = |given: Option<bool>| given.unwrap_or_else(|| row.imap_host.is_some());
    let there = [
        kept(host.as_ref().map(Option::is_some)),
        kept(port.as_ref().map(Option::is_some)),
        kept(username.as_ref().map(Option::is_some)),
        kept(password.as_ref().map(Option::is_some)),
    ];
    if there == [false; 4] {
        return if row.imap_host.is_some() { ImapChange::Remove } else { ImapChange::default() };
    }
    for (present, field) in there.iter().zip(["imap_host", "imap_port", "imap_username", "imap_password"]) {
        if !present {
            failures.add(field, Reason::Blank);
        }
    }
    ImapChange::Set {
        host: host.flatten().and_then(|host| hosts.check(failures, "imap_host", &host)),
        port: port.flatten().and_then(|port| check_port(failures, "imap_port", Some(port))),
        username: username.flatten().and_then(|name| check_username(failures, "imap_username", Some(name))),
        password: password
            .flatten()
            .and_then(|secret| check_password(failures, "imap_password", Some(secret))),
    }
}

/// An empty label is none.
fn check_label(failures: &mut Failures, given: Option<String>) -> Option<String> {
    let given = given.filter(|label| !label.trim().is_empty())?;
    failures.parsed("label", HeaderText::parse(&given, HeaderText::NAME_CHARS)).map(|label| label.to_string())
}

fn check_port(failures: &mut Failures, field: &str, given: Option<i64>) -> Option<i32> {
    let Some(port) = given else {
        failures.add(field, Reason::Blank);
        return None;
    };
    failures.range(field, port, 1, 65_535);
    i32::try_from(port).ok()
}

/// NUL separates the parts of SASL PLAIN (RFC 4616), and a line break would end a command.
fn check_username(failures: &mut Failures, field: &str, given: Option<String>) -> Option<String> {
    let given = given.unwrap_or_default();
    failures.parsed(field, HeaderText::parse(&given, LOGIN_CHARS)).map(|name| name.to_string())
}

/// Nothing is trimmed: a password may begin with a space.
fn check_password(failures: &mut Failures, field: &str, given: Option<Secret>) -> Option<Secret> {
    let given = given.unwrap_or_else(|| Secret::new(String::new()));
    if given.expose().is_empty() {
        failures.add(field, Reason::Blank);
        return None;
    }
    failures.length(field, given.expose(), LOGIN_CHARS);
    if given.expose().chars().any(char::is_control) {
        failures.add(field, Reason::Invalid);
    }
    Some(given)
}

fn check_name(failures: &mut Failures, given: Option<String>) -> Option<HeaderText> {
    let given = given.unwrap_or_default();
    failures.parsed("from_name", HeaderText::parse(&given, HeaderText::NAME_CHARS))
}

fn check_email(failures: &mut Failures, given: Option<String>) -> Option<EmailAddress> {
    failures.parsed("from_email", EmailAddress::parse(&given.unwrap_or_default()))
}

fn check_limit(failures: &mut Failures, given: Option<i64>) -> Option<i32> {
    let Some(limit) = given else {
        failures.add("daily_limit", Reason::Blank);
        return None;
    };
    failures.range("daily_limit", limit, 1, MOST_A_DAY);
    i32::try_from(limit).ok()
}
