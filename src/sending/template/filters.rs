//! The language that templates are rendered in: Liquid's own filters and conditions, each filter within bounds.
//!
//! A filter is never a surprise at send time: one that cannot work with a contact's value (`plus` on a name) gives
//! nothing, one that panics gives nothing, and one that would make much out of little stops the rendering.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use liquid_core::parser::FilterArguments;
use liquid_core::{
    Error, Expression, Filter, FilterReflection, Language, ParseFilter, Result, Runtime, Value, ValueView,
};
use liquid_lib::stdlib;

use super::dialect::Dialect;

/// Most bytes that one filter may give.
const VALUE_BYTES: usize = 256 * 1024;
/// Most bytes that all filters of one rendering may read and write.
const WORK_BYTES: usize = 8 * 1024 * 1024;
/// The filter that `check.rs` puts behind all others in HTML. No author can name it.
pub(super) const ESCAPE_LAST: &str = "escape_last__";

/// How much a filter may make of its input.
#[derive(Clone, Copy, Debug)]
enum Growth {
    /// At most ten bytes for one, and its arguments once.
    Linear,
    /// The second argument for every occurrence of the first.
    Replace,
    /// The first argument between all items.
    Join,
    /// A format, whose widths are numbers.
    Format,
}

/// The language, made once.
pub(super) fn language() -> &'static Language {
    static LANGUAGE: LazyLock<Language> = LazyLock::new(|| {
        let mut language = Language::empty();
        language.blocks.register("if".to_owned(), stdlib::IfBlock.into());
        language.blocks.register("unless".to_owned(), stdlib::UnlessBlock.into());
        language.blocks.register("case".to_owned(), stdlib::CaseBlock.into());
        for (inner, growth) in filters() {
            let name = inner.reflection().name().to_owned();
            let dialect = Dialect::of(&name);
            language.filters.register(name, Guarded { inner, growth, dialect }.into());
        }
        language.filters.register(ESCAPE_LAST.to_owned(), stdlib::Escape.into());
        language
    });
    &LANGUAGE
}

/// Liquid's standard filters but for those that need arrays of objects (`map`, `where`, `concat`), which no
/// merge tag gives.
fn filters() -> Vec<(Box<dyn ParseFilter>, Growth)> {
    let linear: [Box<dyn ParseFilter>; 41] = [
        stdlib::Abs.into(),
        stdlib::Append.into(),
        stdlib::AtLeast.into(),
        stdlib::AtMost.into(),
        stdlib::Capitalize.into(),
        stdlib::Ceil.into(),
        stdlib::Compact.into(),
        stdlib::Default.into(),
        stdlib::DividedBy.into(),
        stdlib::Downcase.into(),
        stdlib::Escape.into(),
        stdlib::EscapeOnce.into(),
        stdlib::First.into(),
        stdlib::Floor.into(),
        stdlib::Last.into(),
        stdlib::Lstrip.into(),
        stdlib::Minus.into(),
        stdlib::Modulo.into(),
        stdlib::NewlineToBr.into(),
        stdlib::Plus.into(),
        stdlib::Prepend.into(),
        stdlib::Remove.into(),
        stdlib::RemoveFirst.into(),
        stdlib::Reverse.into(),
        stdlib::Round.into(),
        stdlib::Rstrip.into(),
        stdlib::Size.into(),
        stdlib::Slice.into(),
        stdlib::Sort.into(),
        stdlib::SortNatural.into(),
        stdlib::Split.into(),
        stdlib::Strip.into(),
        stdlib::StripHtml.into(),
        stdlib::StripNewlines.into(),
        stdlib::Times.into(),
        stdlib::Truncate.into(),
        stdlib::TruncateWords.into(),
        stdlib::Uniq.into(),
        stdlib::Upcase.into(),
        stdlib::UrlDecode.into(),
        stdlib::UrlEncode.into(),
    ];
    let mut all: Vec<_> = linear.into_iter().map(|filter| (filter, Growth::Linear)).collect();
    all.push((stdlib::Replace.into(), Growth::Replace));
    all.push((stdlib::ReplaceFirst.into(), Growth::Replace));
    all.push((stdlib::Join.into(), Growth::Join));
    all.push((stdlib::Date.into(), Growth::Format));
    all
}

/// A filter of the library, to be guarded where it is used.
#[derive(Clone)]
struct Guarded {
    inner: Box<dyn ParseFilter>,
    growth: Growth,
    dialect: Dialect,
}

impl ParseFilter for Guarded {
    fn parse(&self, arguments: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        let positional: Vec<Expression> = arguments.positional.collect();
        let keyword: Vec<(&str, Expression)> = arguments.keyword.collect();
        let given = positional.iter().chain(keyword.iter().map(|(_, value)| value)).cloned().collect();
        let inner = self.inner.parse(FilterArguments {
            positional: Box::new(positional.into_iter()),
            keyword: Box::new(keyword.into_iter()),
        })?;
        let Self { growth, dialect, .. } = *self;
        Ok(Box::new(GuardedFilter { inner, arguments: given, growth, dialect }))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self.inner.reflection()
    }
}

/// One use of a filter in a template.
#[derive(Debug)]
struct GuardedFilter {
    inner: Box<dyn Filter>,
    arguments: Vec<Expression>,
    growth: Growth,
    dialect: Dialect,
}

impl GuardedFilter {
    /// The greatest length of what it may give, in bytes, and what it reads; none for a format that only
    /// serves to fill memory.
    fn bound(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Option<usize>> {
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            arguments.push(argument.evaluate(runtime)?);
        }
        let length = |index: usize| arguments.get(index).map_or(0, |value| weight(value.as_view()));
        let read = weight(input);
        let written = match self.growth {
            Growth::Linear => read.saturating_mul(10).saturating_add(length(0)).saturating_add(length(1)),
            Growth::Replace => {
                let occurrences = read.checked_div(length(0)).unwrap_or_else(|| read.saturating_add(1));
                read.saturating_add(occurrences.saturating_mul(length(1)))
            }
            Growth::Join => read.saturating_add(items(input).saturating_mul(length(0).max(1))),
            Growth::Format => {
                if arguments.iter().any(|format| has_wide_field(format.to_kstr().as_str())) {
                    return Ok(None);
                }
                // The widest field is 99 characters for a "%99B".
                length(0).saturating_mul(33).saturating_add(read)
            }
        };
        Ok(Some(written))
    }
}

impl Filter for GuardedFilter {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        let Some(bound) = self.bound(input, runtime)? else { return Ok(Value::Nil) };
        let unbounded = !matches!(self.growth, Growth::Linear) && bound > VALUE_BYTES;
        charge(runtime, if unbounded { WORK_BYTES } else { weight(input) })?;
        // Integer overflow and odd dates panic in the library; a panic must not cost more than the value.
        let value = catch_unwind(AssertUnwindSafe(|| match self.dialect.before(input) {
            Some(instead) => {
                self.inner.evaluate(&instead, runtime).map(|output| self.dialect.behind(input, output))
            }
            None => self.inner.evaluate(input, runtime),
        }));
        let value = value.ok().and_then(Result::ok).unwrap_or(Value::Nil);
        let written = weight(&value);
        charge(runtime, if written > VALUE_BYTES { WORK_BYTES } else { written })?;
        Ok(value)
    }
}

impl fmt::Display for GuardedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

/// Bytes of a value's text; for an array of its items.
fn weight(value: &dyn ValueView) -> usize {
    value.as_array().map_or_else(
        || value.to_kstr().len(),
        |array| array.values().map(|item| weight(item).saturating_add(32)).fold(0, usize::saturating_add),
    )
}

fn items(value: &dyn ValueView) -> usize {
    value.as_array().map_or(1, |array| usize::try_from(array.size()).unwrap_or(usize::MAX))
}

/// A width of three digits or more.
fn has_wide_field(format: &str) -> bool {
    let mut digits = 0_usize;
    format.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits.saturating_add(1) } else { 0 };
        digits >= 3
    })
}

/// Work done in one rendering, in bytes.
#[derive(Default)]
struct Work(usize);

/// Counts every call for a hundred bytes and what it reads or writes.
fn charge(runtime: &dyn Runtime, bytes: usize) -> Result<()> {
    let mut work = runtime.registers().get_mut::<Work>();
    work.0 = work.0.saturating_add(bytes).saturating_add(100);
    if work.0 > WORK_BYTES { Err(Error::with_msg("too much work")) } else { Ok(()) }
}

/// Whether a rendering failed because its filters did too much.
pub(super) fn spent_all(runtime: &dyn Runtime) -> bool {
    runtime.registers().get_mut::<Work>().0 > WORK_BYTES
}
