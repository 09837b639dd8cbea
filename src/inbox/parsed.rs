//! A mail as the parser sees it.

use std::ops::Deref;

use mail_parser::{Message, MessageParser, PartType};

/// A parsed mail. Mails lie in it as deep as somebody likes, and each would be dropped by the one around it, until the stack
/// overflows, which nothing catches: they are taken out one by one instead.
#[derive(Debug)]
pub(super) struct Parsed<'a>(Message<'a>);

/// Reads a mail; `None` where nothing of it is one.
pub(super) fn parse(bytes: &[u8]) -> Option<Parsed<'_>> {
    MessageParser::default().parse(bytes).map(Parsed)
}

impl<'a> Deref for Parsed<'a> {
    type Target = Message<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Parsed<'_> {
    fn drop(&mut self) {
        let mut parts = std::mem::take(&mut self.0.parts);
        while let Some(part) = parts.pop() {
            if let PartType::Message(mut within) = part.body {
                parts.append(&mut within.parts);
            }
        }
    }
}
