//! The installation's random keys: what signs links and what hashes suppressed addresses. They are made at first start
//! and sealed by the master key, so that its rotation never changes them.

use sea_orm::DbErr;
use uuid::Uuid;

use crate::{
    clock::{Timestamp, new_id},
    crypto::{Place, Sealer, random_bytes},
    tenancy::SystemScope,
};

/// Signs the links in mails.
pub const LINKS: &str = "links";
/// Hashes suppressed addresses.
pub const SUPPRESSIONS: &str = "suppressions";

/// The key of that purpose, made now if there is none. Several processes that start together agree on one.
///
/// # Errors
/// What the database refuses; or that the stored key does not open, which means that `MASTER_KEY` is another one than
/// it was sealed with.
pub async fn load_or_create(
    system: &SystemScope,
    sealer: &Sealer,
    purpose: &'static str,
    now: Timestamp,
) -> Result<[u8; 32], DbErr> {
    if let Some(key) = find(system, sealer, purpose).await? {
        return Ok(key);
    }
    let id = new_id();
    let sealed = sealer.seal(&place(id), &random_bytes::<32>());
    system
        .execute(
            "INSERT INTO app_keys (id, purpose, sealed, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (purpose) DO NOTHING",
            [id.into(), purpose.into(), sealed.into(), now.micros().into()],
        )
        .await?;
    let kept = find(system, sealer, purpose).await?;
    kept.ok_or_else(|| DbErr::Custom(format!("the key `{purpose}` was not stored")))
}

/// The key of that purpose, if there is one.
///
/// # Errors
/// As [`load_or_create`].
pub async fn find(
    system: &SystemScope,
    sealer: &Sealer,
    purpose: &'static str,
) -> Result<Option<[u8; 32]>, DbErr> {
    let row =
        system.query_one("SELECT id, sealed FROM app_keys WHERE purpose = $1", [purpose.into()]).await?;
    let Some(row) = row else { return Ok(None) };
    let id: Uuid = row.try_get("", "id")?;
    let sealed: Vec<u8> = row.try_get("", "sealed")?;
    let opened = sealer.open(&place(id), &sealed).ok().and_then(|key| key.as_slice().try_into().ok());
    opened.map(Some).ok_or_else(|| {
        DbErr::Custom(
            "MASTER_KEY does not open the keys in this database: it is not the one they were sealed with"
                .into(),
        )
    })
}

const fn place(id: Uuid) -> Place {
    Place::of_installation("app_keys", id, "sealed")
}
