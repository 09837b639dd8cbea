//! Templates of subjects and bodies, in Liquid: what a campaign stores and what a send renders.
//!
//! The language is cut down to what a mail merge needs: merge tags, filters, `if`, `unless`, `case`, `comment`.
//! There are no loops, no includes and no variables of the template's own, so that a template which parsed once
//! renders for every contact, in bounded time and space. `check.rs` refuses everything else when the campaign is
//! created; `filters.rs` bounds the filters; `values.rs` shows a contact to the language.

mod check;
mod dialect;
mod filters;
mod probe;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use liquid_core::Renderable;

use crate::errors::Reason;
use crate::models::HeaderText;
use crate::sending::plain_text;

pub use values::MergeValues;

/// Greatest length of a body's template, in bytes.
pub const BODY_BYTES: usize = 256 * 1024;
/// Greatest length of a rendered body, in bytes.
pub const RENDERED_BYTES: usize = 1024 * 1024;

/// Where a template's output goes, which decides how values are written into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    /// A mail's subject: plain, one line.
    Subject,
    /// `body_html`: values are HTML-escaped, after their filters.
    Html,
    /// `body_text`: plain.
    Text,
}

/// Why a text is no template of ours. Shown to the campaign's author, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing in it.
    #[error("can't be blank")]
    Blank,
    /// Longer than so many characters.
    #[error("is too long (maximum is {0} characters)")]
    TooLong(usize),
    /// A merge tag that no contact has, such as `{{ first_nam }}`.
    #[error("is invalid: unknown merge tag {0}")]
    UnknownTag(String),
    /// A `{% … %}` that we do not have, such as `{% for %}`.
    #[error("is invalid: {{% {0} %}} is not supported")]
    UnknownBlock(String),
    /// Not Liquid; the text says where.
    #[error("is invalid: {0}")]
    Syntax(String),
}

impl From<TemplateError> for Reason {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Blank => Self::Blank,
            TemplateError::TooLong(most) => Self::TooLong(most),
            TemplateError::UnknownTag(_) | TemplateError::UnknownBlock(_) | TemplateError::Syntax(_) => {
                Self::Other(error.to_string().into())
            }
        }
    }
}

/// Why a parsed template did not render. Only a template made to grow without bound comes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The output, or what the filters made on the way, passed its bound.
    #[error("the rendered text is too large")]
    TooLarge,
    /// The language refused at run time what it had accepted before.
    #[error("the template failed to render")]
    Failed,
}

/// A compiled template: parse it once for a step, render it for every message.
pub struct Template {
    kind: TemplateKind,
    elements: Vec<Box<dyn Renderable>>,
    size_hint: usize,
}

impl Template {
    /// Compiles a template and checks every name in it, also where no contact may ever lead.
    ///
    /// # Errors
    /// When it is blank (a subject or an HTML body), too long, not Liquid, or names a tag or block we do not have.
    pub fn parse(source: &str, kind: TemplateKind) -> Result<Self, TemplateError> {
        Self::parse_checked(source, kind).map(|(template, _)| template)
    }

    /// Compiles an HTML body, and the text body that follows from it.
    ///
    /// The text is derived once, from the HTML with a mark in place of each output, where that says the same as
    /// deriving it from every rendered mail. Where conditions decide what there is to derive, there is none.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn parse_html_with_text(source: &str) -> Result<(Self, Option<Self>), TemplateError> {
        let (template, checked) = Self::parse_checked(source, TemplateKind::Html)?;
        Ok((template, derive_text(&checked)))
    }

    fn parse_checked(source: &str, kind: TemplateKind) -> Result<(Self, check::Checked), TemplateError> {
        check_length(source, kind)?;
        // The parser panics on some input (an integer past 64 bits), which must not take the request down.
        catch_unwind(AssertUnwindSafe(|| {
            let checked = check::check(source, kind)?;
            let elements = liquid_core::parser::parse(&checked.source, filters::language())
                .map_err(|error| TemplateError::Syntax(check::one_line(&error)))?;
            Ok((Self { kind, elements, size_hint: source.len().saturating_add(256) }, checked))
        }))
        .unwrap_or_else(|_| Err(TemplateError::Syntax("not a valid Liquid template".to_owned())))
    }

    /// Renders it for one contact. A value is data: what looks like Liquid in it stays as it is.
    ///
    /// # Errors
    /// When the output would pass [`RENDERED_BYTES`].
    pub fn render(&self, values: &MergeValues<'_>) -> Result<String, RenderError> {
        let runtime = values::ContactRuntime::new(values);
        let mut output = Bounded { written: Vec::with_capacity(self.size_hint), full: false };
        for element in &self.elements {
            if element.render_to(&mut output, &runtime).is_err() {
                let too_large = output.full || filters::spent_all(&runtime);
                return Err(if too_large { RenderError::TooLarge } else { RenderError::Failed });
            }
        }
        let text = String::from_utf8(output.written).map_err(|_| RenderError::Failed)?;
        Ok(match self.kind {
            TemplateKind::Subject => HeaderText::flatten(&text, HeaderText::SUBJECT_CHARS).to_string(),
            TemplateKind::Html | TemplateKind::Text => text,
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?}, {} elements)", self.kind, self.elements.len())
    }
}

/// None where the derived text would not read back as the same outputs.
fn derive_text(checked: &check::Checked) -> Option<Template> {
    if checked.has_conditions {
        return None;
    }
    let text = plain_text::from_html(&checked.marked);
    let is_mark = |char: char| ('\u{F0000}'..='\u{FFFFD}').contains(&char);
    let is_plain = !text.contains("{{") && !text.contains("{%");
    let count = checked.marked.chars().filter(|char| is_mark(*char)).count();
    if !is_plain || count != checked.outputs.len() {
        return None;
    }
    let mut source = String::with_capacity(text.len().saturating_mul(2));
    for char in text.chars() {
        if !is_mark(char) {
            source.push(char);
            continue;
        }
        let number = usize::try_from(u32::from(char)).ok()?.checked_sub(0xF_0000)?;
        for part in ["{{ ", checked.outputs.get(number)?, " }}"] {
            source.push_str(part);
        }
    }
    Template::parse(&source, TemplateKind::Text).ok()
}

fn check_length(source: &str, kind: TemplateKind) -> Result<(), TemplateError> {
    let (too_long, most) = match kind {
        TemplateKind::Subject => {
            (source.chars().nth(HeaderText::SUBJECT_CHARS).is_some(), HeaderText::SUBJECT_CHARS)
        }
        TemplateKind::Html | TemplateKind::Text => (source.len() > BODY_BYTES, BODY_BYTES),
    };
    if too_long {
        return Err(TemplateError::TooLong(most));
    }
    if kind != TemplateKind::Text && source.trim().is_empty() {
        return Err(TemplateError::Blank);
    }
    Ok(())
}

/// Takes output up to [`RENDERED_BYTES`].
struct Bounded {
    written: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.len().saturating_add(bytes.len()) > RENDERED_BYTES {
            self.full = true;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
