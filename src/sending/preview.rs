//! A campaign as a contact would get it, through the same rendering as a send, without the pixel.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    aside::aside,
    render::{Links, Rendered, StepTemplates, render_step},
    template::MergeValues,
};
use crate::{
    config::Settings,
    errors::{ApiError, ApiResult},
    models::{CustomFields, contacts, sequence_steps},
    tenancy::Scope,
};

/// Who a preview is rendered for.
#[derive(Clone, Debug, Default)]
pub struct Addressee {
    /// The contact's id; none for sample values.
    pub id: Option<Uuid>,
    /// `{{ email }}`
    pub email: String,
    /// `{{ first_name }}`
    pub first_name: Option<String>,
    /// `{{ last_name }}`
    pub last_name: Option<String>,
    /// `{{ company }}`
    pub company: Option<String>,
    /// `{{ custom.<key> }}`
    pub custom: CustomFields,
}

impl Addressee {
    /// Nobody in particular.
    pub fn sample() -> Self {
        Self {
            id: None,
            email: "jane.doe@example.com".to_owned(),
            first_name: Some("Jane".to_owned()),
            last_name: Some("Doe".to_owned()),
            company: Some("Example Ltd".to_owned()),
            custom: CustomFields::default(),
        }
    }

    /// Whatever the templates may ask for.
    pub fn values(&self) -> MergeValues<'_> {
        MergeValues {
            first_name: self.first_name.as_deref(),
            last_name: self.last_name.as_deref(),
            company: self.company.as_deref(),
            email: &self.email,
            custom: &self.custom,
        }
    }
}

impl From<contacts::Model> for Addressee {
    fn from(row: contacts::Model) -> Self {
        Self {
            id: Some(row.id),
            email: row.email,
            first_name: row.first_name,
            last_name: row.last_name,
            company: row.company,
            custom: row.custom.map(CustomFields::from_stored).unwrap_or_default(),
        }
    }
}

/// A visible contact, or nobody in particular.
///
/// # Errors
/// `contact_not_found`.
pub async fn addressee(scope: &Scope, contact_id: Option<Uuid>) -> ApiResult<Addressee> {
    match contact_id {
        Some(id) => Ok(scope.get::<contacts::Entity>(id).await?.into()),
        None => Ok(Addressee::sample()),
    }
}

/// Every step for one addressee, with its position and delay; the unsubscribe link leads to a page whose button does
/// nothing.
///
/// # Errors
/// As [`render`].
pub async fn render_all(
    steps: Vec<sequence_steps::Model>,
    to: Addressee,
    settings: Arc<Settings>,
) -> ApiResult<(Addressee, Vec<(i32, i32, Rendered)>)> {
    aside(move || {
        let page = format!("{}/u/sample", settings.public_url);
        let one = |step: &sequence_steps::Model| {
            let rendered = render(&compile(step)?, step.position, &to, &page)?;
            Ok((step.position, step.delay_minutes, rendered))
        };
        let rendered = steps.iter().map(one).collect::<ApiResult<_>>()?;
        Ok((to, rendered))
    })
    .await?
}

/// Compiles a stored step. It may take seconds: see [`aside`].
///
/// # Errors
/// None for what was checked when it was stored.
pub fn compile(step: &sequence_steps::Model) -> ApiResult<StepTemplates> {
    StepTemplates::parse(&step.subject, &step.body_html, step.body_text.as_deref())
        .map_err(|_| ApiError::internal("a stored template does not parse"))
}

/// Renders the step at that position.
///
/// # Errors
/// `unprocessable` for one whose rendering grows past its bound with these values.
pub fn render(
    templates: &StepTemplates,
    position: i32,
    to: &Addressee,
    unsubscribe: &str,
) -> ApiResult<Rendered> {
    let links = Links { unsubscribe, pixel: None };
    render_step(templates, &to.values(), &links)
        .map_err(|error| ApiError::unprocessable(format!("Step {position} cannot be rendered: {error}")))
}
