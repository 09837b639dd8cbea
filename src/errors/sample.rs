//! A sample body of each code, for its page and for the `OpenAPI` document.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Code, respond::docs_base};

/// The body of an answer, as a client could get it.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    code: &'static str,
    r#type: String,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

impl Sample {
    /// Of this code.
    pub fn of(code: Code) -> Self {
        Self {
            code: code.as_str(),
            r#type: format!("{}/{}", docs_base(), code.as_str()),
            message: message(code),
            details: details(code),
        }
    }
}

fn message(code: Code) -> &'static str {
    if code == Code::ValidationFailed {
        return "Name can't be blank, Min wait seconds must be greater than or equal to 0";
    }
    code.default_message()
}

fn details(code: Code) -> Option<Value> {
    if code == Code::ValidationFailed {
        return Some(json!({"errors": [
            {"field": "name", "message": "can't be blank"},
            {"field": "min_wait_seconds", "message": "must be greater than or equal to 0"},
        ]}));
    }
    if code == Code::PlanLimitReached {
        return Some(json!({"current_period_sends": 5000, "monthly_limit": 5000, "plan_slug": "hobby"}));
    }
    (code == Code::RateLimited).then(|| json!({"limit": 60, "period": 60}))
}
