//! Reads a template before the language does: refuses every name that no contact has and every block that we do
//! not offer, and puts the escaping behind all filters of HTML.
//!
//! The language's own parser splits the source; here its blocks are not nested but read one after the other, so
//! that conditions and branches that no contact takes are checked like everything else. Limits keep the parser's
//! recursion and its quadratic corners small: templates come from outside.

use std::sync::Arc;

use liquid_core::model::ScalarCow;
use liquid_core::parser::{BlockElement, FilterArguments, ParameterReflection, TagToken, TryMatchToken};
use liquid_core::{
    BlockReflection, Error, Expression, Filter, FilterReflection, Language, ParseBlock, ParseFilter,
    Renderable, Result, TagBlock, TagTokenIter, ValueView,
};
use parking_lot::Mutex;

use super::filters::{self, ESCAPE_LAST};
use super::probe::{Nothing, Probe};
use super::values::NAMES;
use super::{TemplateError, TemplateKind};

/// Most `{{` and `{%` in one template.
const MOST_TAGS: usize = 2_000;
/// Longest `{{ … }}` or `{% … %}`, in bytes.
const TAG_BYTES: usize = 2_000;
/// Most brackets in one tag: `custom["key"]` takes one, a filter's arguments a few.
const MOST_BRACKETS: usize = 8;
/// Deepest nesting of conditions; every `elsif` counts as one.
const MOST_NESTED: usize = 50;
/// Longest run of white space: the parser looks ahead over all of it at each of its characters.
const MOST_BLANKS: usize = 128;
/// The block that the whole template is read in.
const WHOLE: &str = "template";

/// A template that passed.
#[derive(Default)]
pub(super) struct Checked {
    /// The source as it is to be compiled.
    pub(super) source: String,
    /// The source with a mark in place of each output: the private character [`mark`] of its number.
    pub(super) marked: String,
    /// What each mark stands for, without braces.
    pub(super) outputs: Vec<String>,
    /// Whether anything but outputs is in it.
    pub(super) has_conditions: bool,
}

/// The mark of an output: a character of a private plane, so that texts do not hold it. There are fewer outputs
/// than characters in that plane.
pub(super) fn mark(number: usize) -> char {
    u32::try_from(number)
        .ok()
        .and_then(|number| char::from_u32(0xF_0000_u32.checked_add(number)?))
        .unwrap_or(' ')
}

/// Checks a template and gives it back as it is to be compiled.
pub(super) fn check(source: &str, kind: TemplateKind) -> std::result::Result<Checked, TemplateError> {
    check_limits(source)?;
    let findings = Arc::new(Mutex::new(Findings::default()));
    let mut language = Language::empty();
    let whole = Whole { findings: Arc::clone(&findings), kind };
    language.blocks.register(WHOLE.to_owned(), Box::new(whole));
    for name in filters::language().filters.plugin_names().filter(|name| *name != ESCAPE_LAST) {
        let filter = CheckedFilter { findings: Arc::clone(&findings) };
        language.filters.register(name.to_owned(), Box::new(filter));
    }
    let wrapped = format!("{{% {WHOLE} %}}{source}{{% end{WHOLE} %}}");
    let parsed = liquid_core::parser::parse(&wrapped, &language);
    let mut findings = findings.lock();
    match (findings.error.take(), parsed) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(TemplateError::Syntax(one_line(&error))),
        (None, Ok(_)) => Ok(std::mem::take(&mut findings.checked)),
    }
}

/// What the parser says, without its drawing: the line and what was expected there.
pub(super) fn one_line(error: &Error) -> String {
    let text = error.to_string();
    let position = text.lines().find_map(|line| Some(line.split_once("--> ")?.1));
    let reason = text.lines().find_map(|line| line.trim().strip_prefix("= "));
    let line = position.and_then(|position| position.split(':').next());
    if let (Some(line), Some(reason)) = (line, reason) {
        return format!("line {line}: {reason}");
    }
    let first = text.lines().next().unwrap_or("not a valid Liquid template");
    first.strip_prefix("liquid: ").unwrap_or(first).to_owned()
}

fn check_limits(source: &str) -> std::result::Result<(), TemplateError> {
    let syntax = |text: &str| Err(TemplateError::Syntax(text.to_owned()));
    let mut blanks = 0_usize;
    for byte in source.bytes() {
        blanks = if byte.is_ascii_whitespace() { blanks.saturating_add(1) } else { 0 };
        if blanks > MOST_BLANKS {
            return syntax("more than 128 white-space characters in a row");
        }
    }
    let bytes = source.as_bytes();
    let mut tags = 0_usize;
    for (start, pair) in bytes.windows(2).enumerate() {
        if pair != b"{{" && pair != b"{%" {
            continue;
        }
        tags = tags.saturating_add(1);
        if tags > MOST_TAGS {
            return syntax("more than 2000 tags");
        }
        let rest = bytes.get(start.saturating_add(2)..).unwrap_or_default();
        let Some(tag) = tag_text(rest) else { return syntax("a tag is not closed, or is too long") };
        if tag.split(|byte| *byte == b'[').count() > MOST_BRACKETS {
            return syntax("too many brackets in one tag");
        }
    }
    Ok(())
}

/// The bytes of a tag up to its end, which does not count within quotes, as the grammar has it.
fn tag_text(rest: &[u8]) -> Option<&[u8]> {
    let window = rest.get(..TAG_BYTES).unwrap_or(rest);
    let mut at = 0_usize;
    while let Some(&byte) = window.get(at) {
        let next = at.saturating_add(1);
        match byte {
            b'"' | b'\'' => {
                let length = window.get(next..)?.iter().position(|other| *other == byte);
                at = length.map_or(next, |length| next.saturating_add(length).saturating_add(1));
            }
            b'}' | b'%' if window.get(next) == Some(&b'}') => return window.get(..at),
            _ => at = next,
        }
    }
    None
}

/// What the reading has found so far.
#[derive(Default)]
struct Findings {
    checked: Checked,
    error: Option<TemplateError>,
    /// For each open condition: itself and its `elsif`s.
    open: Vec<usize>,
}

impl Findings {
    /// Keeps the first error; the parser's own, which follows from it, says less.
    fn refuse(&mut self, error: TemplateError) -> Error {
        self.error.get_or_insert(error);
        Error::with_msg("refused")
    }

    /// A variable must be one of the names, or `custom` with one literal key.
    fn check_expression(&mut self, expression: &Expression) -> Result<()> {
        match expression {
            Expression::Literal(_) => Ok(()),
            Expression::Variable(variable) => {
                let probe = Probe::default();
                let path = variable.try_evaluate(&probe);
                let known = path.is_some_and(|path| probe.is_untouched() && is_known(&path));
                if known { Ok(()) } else { Err(self.refuse(TemplateError::UnknownTag(variable.to_string()))) }
            }
        }
    }

    /// Follows the nesting, which bounds the depth of the parser's recursion.
    fn count_nesting(&mut self, name: &str) -> Result<()> {
        match name {
            "if" | "unless" | "case" => self.open.push(1),
            "elsif" => {
                if let Some(last) = self.open.last_mut() {
                    *last = last.saturating_add(1);
                }
            }
            "endif" | "endunless" | "endcase" => drop(self.open.pop()),
            _ => {}
        }
        let depth = self.open.iter().copied().fold(0, usize::saturating_add);
        if depth > MOST_NESTED {
            return Err(self.refuse(TemplateError::Syntax("conditions are nested too deeply".to_owned())));
        }
        Ok(())
    }
}

fn is_known(path: &[ScalarCow<'_>]) -> bool {
    match path {
        [name] => NAMES.iter().any(|known| name.to_kstr() == *known),
        [name, key] => name.to_kstr() == "custom" && key.to_integer().is_none(),
        _ => false,
    }
}

/// The block around the whole template.
#[derive(Clone)]
struct Whole {
    findings: Arc<Mutex<Findings>>,
    kind: TemplateKind,
}

impl BlockReflection for Whole {
    fn start_tag(&self) -> &'static str {
        WHOLE
    }

    fn end_tag(&self) -> &'static str {
        "endtemplate"
    }

    fn description(&self) -> &'static str {
        ""
    }
}

impl ParseBlock for Whole {
    fn parse(
        &self,
        _arguments: TagTokenIter<'_>,
        mut block: TagBlock<'_, '_>,
        options: &Language,
    ) -> Result<Box<dyn Renderable>> {
        while let Some(element) = block.next()? {
            match element {
                BlockElement::Raw(raw) => {
                    let mut findings = self.findings.lock();
                    findings.checked.source.push_str(raw.as_str());
                    findings.checked.marked.push_str(raw.as_str());
                }
                BlockElement::Expression(expression) => {
                    let text = expression.as_str().to_owned();
                    let chain = expression.parse(options)?;
                    self.read_expression(&text, chain.as_ref())?;
                }
                BlockElement::Tag(tag) if tag.name() == "comment" => skip_comment(&mut block)?,
                BlockElement::Tag(mut tag) => {
                    let name = tag.name().to_owned();
                    self.read_tag(&name, tag.tokens())?;
                    let mut findings = self.findings.lock();
                    findings.checked.source.push_str(tag.as_str());
                    findings.checked.has_conditions = true;
                }
                BlockElement::Invalid(invalid) => drop(invalid.parse(&mut block)?),
            }
        }
        block.assert_empty();
        Ok(Box::new(Nothing))
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self
    }
}

impl Whole {
    /// Checks what an output begins with (its filters' arguments are checked as they are parsed), and in HTML
    /// puts the escaping behind its last filter.
    fn read_expression(&self, text: &str, chain: &dyn Renderable) -> Result<()> {
        let probe = Probe::default();
        let rendered = chain.render(&probe);
        let inner = text.trim().trim_start_matches("{{").trim_end_matches("}}").trim_matches('-').trim();
        match probe.asked().as_slice() {
            [] => drop(rendered?),
            [path] if is_known(path) => {}
            _ => {
                let name = inner.split('|').next().unwrap_or_default().trim().to_owned();
                return Err(self.findings.lock().refuse(TemplateError::UnknownTag(name)));
            }
        }
        let (body, closing) = text.split_at(text.rfind("}}").unwrap_or(text.len()));
        let mut findings = self.findings.lock();
        let checked = &mut findings.checked;
        match self.kind {
            TemplateKind::Html => {
                let (body, trim) = body.strip_suffix('-').map_or((body, ""), |body| (body, "-"));
                for part in [body, " | ", ESCAPE_LAST, " ", trim, closing] {
                    checked.source.push_str(part);
                }
            }
            TemplateKind::Subject | TemplateKind::Text => checked.source.push_str(text),
        }
        checked.marked.push(mark(checked.outputs.len()));
        checked.outputs.push(inner.to_owned());
        drop(findings);
        Ok(())
    }

    fn read_tag(&self, name: &str, tokens: &mut TagTokenIter<'_>) -> Result<()> {
        let mut findings = self.findings.lock();
        match name {
            "if" | "elsif" | "unless" | "case" | "when" => {
                findings.count_nesting(name)?;
                check_condition(&mut findings, tokens)
            }
            "else" | "endif" | "endunless" | "endcase" => findings.count_nesting(name),
            _ => Err(findings.refuse(TemplateError::UnknownBlock(name.to_owned()))),
        }
    }
}

/// Every value of a condition. Its grammar is left to the language, but for what would only fail when rendered.
fn check_condition(findings: &mut Findings, tokens: &mut TagTokenIter<'_>) -> Result<()> {
    let mut left_holds_nothing = false;
    for token in tokens {
        let word = token.as_str().to_owned();
        if word == "contains" && left_holds_nothing {
            let text = "nil, empty and blank contain nothing".to_owned();
            return Err(findings.refuse(TemplateError::Syntax(text)));
        }
        left_holds_nothing = false;
        if matches!(word.as_str(), "contains" | "and" | "or") {
            continue;
        }
        if let Some(expression) = value_of(token) {
            findings.check_expression(&expression)?;
            left_holds_nothing = expression.into_literal().is_some_and(|literal| !literal.is_scalar());
        }
    }
    Ok(())
}

/// A value, or nothing for the signs between values.
fn value_of(token: TagToken<'_>) -> Option<Expression> {
    match token.expect_value() {
        TryMatchToken::Matches(expression) => Some(expression),
        TryMatchToken::Fails(_) => None,
    }
}

/// Drops everything up to the comment's end. Comments do not nest, and may hold anything.
fn skip_comment(block: &mut TagBlock<'_, '_>) -> Result<()> {
    while let Some(element) = block.next()? {
        if matches!(&element, BlockElement::Tag(tag) if tag.name() == "endcomment") {
            return Ok(());
        }
    }
    Err(Error::with_msg("a comment is not closed"))
}

/// Reads a filter's arguments and does nothing.
#[derive(Clone)]
struct CheckedFilter {
    findings: Arc<Mutex<Findings>>,
}

impl ParseFilter for CheckedFilter {
    fn parse(&self, arguments: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        for expression in arguments.positional.chain(arguments.keyword.map(|(_, value)| value)) {
            self.findings.lock().check_expression(&expression)?;
        }
        Ok(Box::new(Nothing))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

impl FilterReflection for CheckedFilter {
    fn name(&self) -> &'static str {
        ""
    }

    fn description(&self) -> &'static str {
        ""
    }

    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }

    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
}
