//! The words of the mails: Tera templates, compiled once. Values in the pages are escaped by Tera, which goes by the end of
//! a template's name.

use std::sync::Arc;

use serde::Serialize;
use tera::{Context, Tera};
use uuid::Uuid;

use super::Mail;

/// The templates of one folder.
macro_rules! folder {
    ($name:literal) => {
        [
            (concat!($name, "/subject.t"), include_str!(concat!($name, "/subject.t"))),
            (concat!($name, "/text.t"), include_str!(concat!($name, "/text.t"))),
            (concat!($name, "/html.t"), include_str!(concat!($name, "/html.t"))),
        ]
    };
}

/// What all mails share; extended by the others, so it comes first.
const LAYOUTS: [(&str, &str); 2] =
    [("layout.text.t", include_str!("layout.text.t")), ("layout.html.t", include_str!("layout.html.t"))];

const FOLDERS: [[(&str, &str); 3]; 5] = [
    folder!("welcome"),
    folder!("credential_disabled"),
    folder!("campaign_paused"),
    folder!("plan_usage"),
    folder!("payment_failed"),
];

/// A template that is wrong, or that lacks a value.
#[derive(Debug, thiserror::Error)]
#[error("a mail cannot be written: {0}")]
pub struct TemplatesError(String);

/// A mail as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// For programs that show no pages.
    pub text: String,
    /// The page.
    pub html: String,
}

/// Every mail's templates; cheap to clone.
#[derive(Clone)]
pub struct Templates(Arc<Tera>);

/// What a template is handed beside the mail's own fields.
#[derive(Serialize)]
struct Values<'a> {
    #[serde(flatten)]
    mail: &'a Mail,
    account_id: Uuid,
    public_url: &'a str,
}

impl Templates {
    /// Compiles them.
    ///
    /// # Errors
    /// When one does not parse.
    pub fn compile() -> Result<Self, TemplatesError> {
        let mut tera = Tera::default();
        tera.autoescape_on(vec!["html.t"]);
        for (name, text) in LAYOUTS.into_iter().chain(FOLDERS.into_iter().flatten()) {
            tera.add_raw_template(name, text).map_err(|error| wrong(name, &error))?;
        }
        Ok(Self(Arc::new(tera)))
    }

    /// Writes a mail to the owner of an account. `public_url` is where this server is reached.
    ///
    /// # Errors
    /// When a template asks for a value that the mail does not have.
    pub fn render(&self, mail: &Mail, account_id: Uuid, public_url: &str) -> Result<Letter, TemplatesError> {
        let context = Context::from_serialize(&Values { mail, account_id, public_url })
            .map_err(|error| wrong(mail.name(), &error))?;
        let part = |part: &str| {
            let name = format!("{}/{part}.t", mail.name());
            self.0.render(&name, &context).map_err(|error| wrong(&name, &error))
        };
        let subject = part("subject")?.trim().to_owned();
        Ok(Letter { subject, text: part("text")?, html: part("html")? })
    }
}

fn wrong(name: &str, error: &tera::Error) -> TemplatesError {
    TemplatesError(format!("{name}: {error}"))
}
