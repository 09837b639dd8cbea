//! What a table must say of itself to be reached through a scope.

use sea_orm::{Condition, EntityTrait};

use crate::errors::Code;

/// A table whose rows belong to an account.
pub trait TenantEntity: EntityTrait {
    /// The error when a row is unknown, hidden, or another account's.
    const MISSING: Code;
    /// The table's name, as raw SQL and sealed columns name it.
    const TABLE: &'static str;

    /// The column with the account.
    fn account_column() -> Self::Column;
    /// The column with the row's id.
    fn id_column() -> Self::Column;
    /// Hides rows that are deleted but not yet removed.
    fn visible() -> Option<Condition> {
        None
    }
}

/// Implements [`TenantEntity`]: `tenant_entity!(campaigns, CampaignNotFound, visible: "campaigns.deleted_at IS NULL")`.
macro_rules! tenant_entity {
    ($table:ident, $code:ident $(, visible: $sql:expr)?) => {
        impl crate::tenancy::TenantEntity for crate::models::_entities::$table::Entity {
            const MISSING: crate::errors::Code = crate::errors::Code::$code;
            const TABLE: &'static str = stringify!($table);

            fn account_column() -> Self::Column {
                crate::models::_entities::$table::Column::AccountId
            }
            fn id_column() -> Self::Column {
                crate::models::_entities::$table::Column::Id
            }
            $(fn visible() -> Option<sea_orm::Condition> {
                Some(sea_orm::Condition::all().add(sea_orm::sea_query::Expr::cust($sql)))
            })?
        }
    };
}
pub(crate) use tenant_entity;
