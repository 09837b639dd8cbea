//! What handlers and the engine share besides Loco's context: settings, keys and doors, made once per process.

use std::{path::Path, sync::Arc};

use loco_rs::app::AppContext;
use migration::MigratorTrait;

use crate::{
    billing::Stripe,
    clock::Timestamp,
    config::{ConfigError, Settings},
    crypto::{LinkKeys, MasterKeys, Sealer, SuppressionKey},
    db::Db,
    engine::Doorbells,
    errors::ApiError,
    http::{idempotency::Turns, rate_limit::RateLimits, usage::Usage},
    mailers::{Relay, Templates},
    models::{api_keys::KeyLookups, app_keys, plans, suppressions::Searches},
    net::{DialPolicy, Dialer, HttpClient, MxCheck},
    sending::{chunks::Chunks, program::Programs},
    tenancy::{Conn, SystemScope},
};

/// Shared by everything in this process; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// What the operator set.
    pub settings: Arc<Settings>,
    /// The pool, and the way to begin a write.
    pub db: Db,
    /// Seals and opens secrets.
    pub sealer: Arc<Sealer>,
    /// Signs links in mails.
    pub link_keys: Arc<LinkKeys>,
    /// Hashes suppressed addresses.
    pub suppression_key: Arc<SuppressionKey>,
    /// Dials what tenants name.
    pub dialer: Dialer,
    /// Talks HTTP to what tenants name.
    pub http: HttpClient,
    /// Looks up whether a domain takes mail.
    pub mx: MxCheck,
    /// What wakes the engine of this process.
    pub doorbells: Doorbells,
    /// Compiled steps of campaigns that are sending.
    pub programs: Programs,
    /// Which mail servers are sent chunks.
    pub chunks: Chunks,
    /// Looks keys up.
    pub key_lookups: KeyLookups,
    /// Who looks for the address behind a hash.
    pub searches: Searches,
    /// Who asked how often.
    pub limits: RateLimits,
    /// Whose turn it is among requests with one idempotency key.
    pub turns: Turns,
    /// What was asked for and is not stored yet.
    pub usage: Usage,
    /// The words of mails to owners.
    pub mail_templates: Templates,
    /// What sends them, where there is one.
    pub relay: Option<Relay>,
    /// Who takes the money, where anybody does.
    pub stripe: Option<Stripe>,
}

impl AppState {
    /// The state of a context that was prepared.
    ///
    /// # Errors
    /// `internal_error` before [`Self::prepare`].
    pub fn of(ctx: &AppContext) -> Result<Self, ApiError> {
        ctx.shared_store
            .get::<Self>()
            .ok_or_else(|| ApiError::internal("the application state is not prepared"))
    }

    /// All accounts, for reading.
    pub fn reads(&self) -> SystemScope {
        SystemScope::new(Conn::Pool(self.db.pool().clone()))
    }

    /// Makes the state, once per context: checks the settings, seeds the plans, loads the keys. The schema must be there.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub async fn prepare(ctx: &AppContext) -> loco_rs::Result<Self> {
        if let Some(ready) = ctx.shared_store.get::<Self>() {
            return Ok(ready);
        }
        let settings = Settings::from_config(&ctx.config).map_err(stop)?;
        let sealer = Sealer::new(master_keys(&settings).map_err(stop)?);
        let db = ctx.shared_store.get::<Db>().unwrap_or_else(|| Db::new(ctx.db.clone()));
        let system = SystemScope::new(Conn::Pool(ctx.db.clone()));
        let now = Timestamp::now();
        plans::seed(&system, now).await?;
        plans::sync_prices(&system, &settings.plan_prices).await?;
        let stripe = settings.stripe.as_ref().map(Stripe::new).transpose().map_err(stop)?;
        let links = app_keys::load_or_create(&system, &sealer, app_keys::LINKS, now).await?;
        let suppressions = app_keys::load_or_create(&system, &sealer, app_keys::SUPPRESSIONS, now).await?;
        let policy = DialPolicy {
            allow_private: settings.allow_private_networks,
            allow_plain_mail: settings.allow_plain_mail,
        };
        let chunks = Chunks::new(settings.engine.chunking);
        let limits = RateLimits::new(&settings.limits).map_err(stop)?;
        let dialer = Dialer::new(policy).map_err(stop)?;
        let mx = MxCheck::new(dialer.dns());
        let relay = settings.relay.as_ref().map(|relay| Relay::new(relay, settings.allow_plain_mail));
        let relay = relay.transpose().map_err(stop)?;
        let state = Self {
            settings: Arc::new(settings),
            stripe,
            db,
            sealer: Arc::new(sealer),
            link_keys: Arc::new(LinkKeys::new(&links, &[])),
            suppression_key: Arc::new(SuppressionKey::new(suppressions)),
            http: HttpClient::new(dialer.clone()),
            dialer,
            mx,
            doorbells: Doorbells::of(ctx),
            programs: Programs::default(),
            chunks,
            key_lookups: KeyLookups::default(),
            searches: Searches::default(),
            limits,
            turns: Turns::default(),
            usage: Usage::default(),
            mail_templates: Templates::compile().map_err(stop)?,
            relay,
        };
        ctx.shared_store.insert(state.clone());
        Ok(state)
    }

    /// For tasks, which Loco runs without migrating: migrates, then prepares.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub async fn prepare_for_task(ctx: &AppContext) -> loco_rs::Result<Self> {
        migration::Migrator::up(&ctx.db, None).await?;
        Self::prepare(ctx).await
    }
}

/// The keys that seal, from `MASTER_KEY` or from their file, which is made where it is missing.
///
/// # Errors
/// Names `MASTER_KEY`, and what is wrong with it.
pub fn master_keys(settings: &Settings) -> Result<MasterKeys, ConfigError> {
    let keys = if settings.master_key.is_empty() {
        MasterKeys::load_or_create(Path::new(&settings.master_key_file))
    } else {
        MasterKeys::parse(&settings.master_key)
    };
    keys.map_err(|error| ConfigError::new("MASTER_KEY", error.to_string()))
}

/// An error that ends the start with its own line.
fn stop(error: impl std::fmt::Display) -> loco_rs::Error {
    loco_rs::Error::Message(error.to_string())
}
