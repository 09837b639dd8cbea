//! Stand-ins for reading a template without rendering it: a runtime that notes what it is asked for, and parts
//! that do nothing.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use liquid_core::model::{KString, KStringCow, KStringRef, ScalarCow};
use liquid_core::runtime::{PartialStore, Registers};
use liquid_core::{Error, Filter, Renderable, Result, Runtime, Value, ValueCow, ValueView};

use super::values::{MISSING, NoPartials};

/// Renders nothing and filters to nothing.
#[derive(Debug)]
pub(super) struct Nothing;

impl Renderable for Nothing {
    fn render_to(&self, _writer: &mut dyn std::io::Write, _runtime: &dyn Runtime) -> Result<()> {
        Ok(())
    }
}

impl Filter for Nothing {
    fn evaluate(&self, _input: &dyn ValueView, _runtime: &dyn Runtime) -> Result<Value> {
        Ok(Value::Nil)
    }
}

impl fmt::Display for Nothing {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// A runtime that has nothing and keeps what it was asked for.
#[derive(Default)]
pub(super) struct Probe {
    asked: RefCell<Vec<Vec<ScalarCow<'static>>>>,
    registers: Registers,
}

impl Probe {
    /// Whether it was asked for nothing.
    pub(super) fn is_untouched(&self) -> bool {
        self.asked.borrow().is_empty()
    }

    /// The paths in the order in which they were asked for.
    pub(super) fn asked(self) -> Vec<Vec<ScalarCow<'static>>> {
        self.asked.into_inner()
    }
}

impl Runtime for Probe {
    fn partials(&self) -> &dyn PartialStore {
        &NoPartials
    }

    fn name(&self) -> Option<KStringRef<'_>> {
        None
    }

    fn roots(&self) -> BTreeSet<KStringCow<'_>> {
        BTreeSet::new()
    }

    fn try_get(&self, path: &[ScalarCow<'_>]) -> Option<ValueCow<'_>> {
        self.asked.borrow_mut().push(path.iter().map(|step| step.clone().into_owned()).collect());
        Some(ValueCow::Borrowed(&MISSING))
    }

    fn get(&self, path: &[ScalarCow<'_>]) -> Result<ValueCow<'_>> {
        self.try_get(path).ok_or_else(|| Error::with_msg("nothing"))
    }

    fn set_global(&self, _name: KString, _value: Value) -> Option<Value> {
        None
    }

    fn set_index(&self, _name: KString, _value: Value) -> Option<Value> {
        None
    }

    fn get_index<'r>(&'r self, _name: &str) -> Option<ValueCow<'r>> {
        None
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }
}
