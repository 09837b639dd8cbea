//! The steps in bodies of `POST /campaigns` and `PATCH /campaigns/:id`: always the whole list.

use serde::Deserialize;

use super::Record;
use crate::{
    errors::{Failures, Reason},
    models::sequence_steps::{MOST_STEPS, NewStep},
    sending::render::StepTemplates,
};

/// Longest delay between two steps, in minutes: a year.
const LONGEST_DELAY: i64 = 525_600;

/// The list as it came.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Steps(Vec<Record<Step>>);

/// One step as it came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    position: Option<i64>,
    subject: Option<String>,
    body_html: Option<String>,
    body_text: Option<String>,
    delay_minutes: Option<i64>,
}

/// Checks the list: at least one step, positions that count from 1 without a gap, templates that parse. What it gives
/// is sorted by position, and means something only where no failure was added.
pub fn check(failures: &mut Failures, given: Option<Steps>) -> Vec<NewStep> {
    let given = given.map(|steps| steps.0).unwrap_or_default();
    if given.is_empty() {
        failures.add("sequence_steps", Reason::Blank);
    }
    if given.len() > MOST_STEPS {
        let phrase = format!("has too many entries (maximum is {MOST_STEPS})");
        failures.add("sequence_steps", Reason::Other(phrase.into()));
        return Vec::new();
    }
    let count = i64::try_from(given.len()).unwrap_or(i64::MAX);
    let mut taken = Vec::with_capacity(given.len());
    let mut steps: Vec<NewStep> = Vec::with_capacity(given.len());
    for (index, Record(step)) in given.into_iter().enumerate() {
        let checked = failures
            .nested(&format!("sequence_steps[{index}]"), |failures| step.check(failures, count, &mut taken));
        steps.extend(checked);
    }
    steps.sort_by_key(|step| step.position);
    steps
}

impl Step {
    fn check(self, failures: &mut Failures, count: i64, taken: &mut Vec<i64>) -> Option<NewStep> {
        let position = check_position(failures, self.position, count, taken);
        let subject = self.subject.unwrap_or_default();
        let body_html = self.body_html.unwrap_or_default();
        let body_text = self.body_text.filter(|text| !text.trim().is_empty());
        let parsed = StepTemplates::parse(&subject, &body_html, body_text.as_deref());
        for (field, error) in parsed.err().into_iter().flatten() {
            failures.add(field, error.into());
        }
        let delay = self.delay_minutes.unwrap_or(0);
        failures.range("delay_minutes", delay, 0, LONGEST_DELAY);
        Some(NewStep {
            position: position?,
            subject,
            body_html,
            body_text,
            delay_minutes: i32::try_from(delay).ok()?,
        })
    }
}

fn check_position(
    failures: &mut Failures,
    given: Option<i64>,
    count: i64,
    taken: &mut Vec<i64>,
) -> Option<i32> {
    let Some(position) = given else {
        failures.add("position", Reason::Blank);
        return None;
    };
    if !failures.range("position", position, 1, count) {
        return None;
    }
    if taken.contains(&position) {
        failures.add("position", Reason::Taken);
        return None;
    }
    taken.push(position);
    i32::try_from(position).ok()
}
