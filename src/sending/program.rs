//! What a lane sends and as whom: the compiled steps of its campaign, and its opened credential.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use sea_orm::{ConnAcquireErr, DbErr};
use uuid::Uuid;

use super::{aside::aside_for_lane, lanes::Lane, render::StepTemplates, smtp::Endpoint};
use crate::{
    crypto::{Place, Secret},
    models::{email_address::EmailAddress, header_text::HeaderText, smtp_credentials::Tried},
    state::AppState,
    tenancy::{Conn, SystemScope},
};

/// Bytes that all compiled steps of a process may take, as far as their texts tell.
const MOST_KEPT: u64 = 64 * 1024 * 1024;
/// Bytes of a compiled tag, about: in the HTML and in the text.
const TAG: usize = 400;

/// The compiled steps of a campaign. They cannot change once it was dispatched, so they are kept.
#[derive(Debug)]
pub struct Program {
    steps: Vec<StepTemplates>,
    /// Bytes that it takes, about.
    size: usize,
}

impl Program {
    /// The step at that position, counted from 1.
    pub fn step(&self, position: i32) -> Option<&StepTemplates> {
        usize::try_from(position).ok()?.checked_sub(1).and_then(|nth| self.steps.get(nth))
    }
}

/// Compiled steps by campaign.
#[derive(Clone, Debug)]
pub struct Programs(Cache<Uuid, Arc<Program>>);

impl Default for Programs {
    fn default() -> Self {
        let size = |_: &Uuid, program: &Arc<Program>| u32::try_from(program.size).unwrap_or(u32::MAX);
        let idle = Duration::from_secs(600);
        Self(Cache::builder().max_capacity(MOST_KEPT).weigher(size).time_to_idle(idle).build())
    }
}

/// A credential, opened for as long as its lane works. Deliberately without `Debug`.
pub struct Sender {
    host: String,
    port: u16,
    username: String,
    password: Secret,
    /// The return path and the address in `From`.
    pub from: EmailAddress,
    /// The name in `From`.
    pub from_name: HeaderText,
    /// The shortest pause between two messages, in seconds.
    pub min_wait_seconds: u64,
    /// The longest.
    pub max_wait_seconds: u64,
    /// What it was when it was read.
    pub tried: Tried,
}

impl Sender {
    /// Whether a connection of the other is one of this as well.
    pub fn signs_in_like(&self, other: &Self) -> bool {
        let ours = (&self.host, self.port, &self.username, self.password.expose());
        ours == (&other.host, other.port, &other.username, other.password.expose())
    }

    /// Where it leads and what opens it.
    pub fn endpoint(&self) -> Endpoint<'_> {
        Endpoint {
            host: &self.host,
            port: self.port,
            username: &self.username,
            password: self.password.expose(),
        }
    }
}

/// Loads what a lane needs; `None` when campaign or credential are gone.
///
/// # Errors
/// What the database refuses, its silence, or a stored value that cannot be read.
pub async fn load(state: &AppState, lane: &Lane) -> Result<Option<(Arc<Program>, Sender)>, DbErr> {
    let silence = || Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
    let read = tokio::time::timeout(state.settings.engine.patience(), read(state, lane));
    read.await.unwrap_or_else(|_| silence())
}

async fn read(state: &AppState, lane: &Lane) -> Result<Option<(Arc<Program>, Sender)>, DbErr> {
    let system = SystemScope::new(Conn::Pool(state.db.pool().clone()));
    let row = system
        .query_one(
            "SELECT s.smtp_host, s.smtp_port, s.smtp_username, s.smtp_password, s.from_name, s.from_email, \
             k.min_wait_seconds, k.max_wait_seconds FROM smtp_credentials s \
             JOIN campaigns k ON k.account_id = s.account_id AND k.id = s.campaign_id \
             WHERE s.id = $1 AND s.deleted_at IS NULL AND k.deleted_at IS NULL",
            [lane.credential_id.into()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let place = Place {
        account: lane.account_id,
        table: "smtp_credentials",
        row: lane.credential_id,
        column: "smtp_password",
    };
    let sealed: Vec<u8> = row.try_get("", "smtp_password")?;
    let password = state.sealer.open_text(&place, &sealed).map_err(unreadable)?;
    let from_email: String = row.try_get("", "from_email")?;
    let from_name: String = row.try_get("", "from_name")?;
    let wait = |column| Ok::<_, DbErr>(u64::try_from(row.try_get::<i32>("", column)?).unwrap_or(0));
    let (host, username): (String, String) =
        (row.try_get("", "smtp_host")?, row.try_get("", "smtp_username")?);
    let port: i32 = row.try_get("", "smtp_port")?;
    let sender = Sender {
        tried: Tried::of(&host, port, &username, &sealed, &from_email),
        host,
        port: u16::try_from(port).map_err(unreadable)?,
        username,
        password,
        from: EmailAddress::parse(&from_email).map_err(|_| unreadable("from_email"))?,
        from_name: HeaderText::parse(&from_name, 255).map_err(|_| unreadable("from_name"))?,
        min_wait_seconds: wait("min_wait_seconds")?,
        max_wait_seconds: wait("max_wait_seconds")?,
    };
    // All lanes of a campaign begin at once: one of them compiles, the others wait for it.
    let made = state.programs.0.try_get_with(lane.campaign_id, compile(&system, lane)).await;
    Ok(Some((made.map_err(unreadable)?, sender)))
}

/// Reads and compiles the steps, off the threads that send and serve.
async fn compile(system: &SystemScope, lane: &Lane) -> Result<Arc<Program>, DbErr> {
    let rows = system
        .query(
            "SELECT subject, body_html, body_text FROM sequence_steps WHERE account_id = $1 AND campaign_id = $2 \
             ORDER BY position",
            [lane.account_id.into(), lane.campaign_id.into()],
        )
        .await?;
    let stored = rows.iter().map(|row| {
        let (subject, html) = (row.try_get("", "subject")?, row.try_get("", "body_html")?);
        Ok((subject, html, row.try_get("", "body_text")?))
    });
    let stored = stored.collect::<Result<Vec<Stored>, DbErr>>()?;
    let size = stored.iter().map(size).sum();
    let steps = aside_for_lane(move || stored.iter().map(parse).collect::<Result<_, _>>())
        .await
        .map_err(unreadable)??;
    Ok(Arc::new(Program { steps, size }))
}

/// Subject, HTML and text of a step.
type Stored = (String, String, Option<String>);

/// Bytes that a step takes once it is compiled, about.
fn size((subject, html, text): &Stored) -> usize {
    let texts = [subject, html].into_iter().chain(text);
    // A text that is not given is made of the HTML.
    let tags = |text: &String| text.matches("{{").count() + text.matches("{%").count();
    let of = |text: &String| 2 * text.len() + TAG * tags(text);
    texts.map(of).sum()
}

fn parse((subject, html, text): &Stored) -> Result<StepTemplates, DbErr> {
    StepTemplates::parse(subject, html, text.as_deref()).map_err(|_| unreadable("a step"))
}

fn unreadable(what: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(format!("a stored value cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_step_weighs_its_texts_twice_and_each_tag_of_either_kind() {
        let of = |html: &str, text: Option<&str>| {
            size(&("Hi".to_owned(), html.to_owned(), text.map(str::to_owned)))
        };
        assert_eq!(of("<p>", None), 2 * (2 + 3));
        assert_eq!(of("{% if email %}{{email}}{% endif %}", None), 2 * (2 + 34) + 3 * TAG);
        assert_eq!(of("<p>", Some("{% if email %}x{% endif %}")), 2 * (2 + 3 + 26) + 2 * TAG);
    }

    #[tokio::test]
    async fn large_programs_make_room_for_each_other() {
        let stored: Stored = ("Hello".to_owned(), "{{email}}".repeat(2_000), None);
        let kept = Programs::default();
        for n in 0..10 {
            let program = Program { steps: vec![parse(&stored).unwrap()], size: 20 * size(&stored) };
            kept.0.insert(Uuid::from_u128(n), Arc::new(program)).await;
        }
        kept.0.run_pending_tasks().await;
        let each = 20 * u64::try_from(size(&stored)).unwrap();
        assert!(each > 16_000_000, "a small text with many tags is large: {each}");
        assert!(kept.0.weighted_size() <= MOST_KEPT);
        assert!((1..=MOST_KEPT / each).contains(&kept.0.entry_count()), "{}", kept.0.entry_count());
    }
}
