//! Keyset pages over ids, which sort by creation: a page costs the same at any depth.
//!
//! This is the part that models use; reading it from a request and linking to the next page is
//! `http::paging`.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

/// Rows of a page where the client names no limit.
pub const DEFAULT_LIMIT: u64 = 100;

/// The most rows of a page.
pub const MAX_LIMIT: u64 = 1000;

/// Which rows of a list are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: u64,
    after: Option<Uuid>,
}

impl Page {
    /// A page of 1 to 1000 rows after a position, which need not be the id of a row; `None` for
    /// another limit.
    pub const fn new(limit: u64, after: Option<Uuid>) -> Option<Self> {
        if limit >= 1 && limit <= MAX_LIMIT { Some(Self { limit, after }) } else { None }
    }

    /// How many rows are shown.
    pub const fn limit(self) -> u64 {
        self.limit
    }

    /// How many rows to fetch: one more than is shown tells whether there is a next page.
    pub const fn fetch(self) -> u64 {
        self.limit + 1
    }

    /// The position after which the page begins.
    pub const fn after(self) -> Option<Uuid> {
        self.after
    }

    /// Newest first, by the id column, which an index on `(account_id, id)` or like it serves.
    #[must_use]
    pub fn apply<E: EntityTrait, C: ColumnTrait>(self, select: Select<E>, id: C) -> Select<E> {
        let select = match self.after {
            Some(after) => select.filter(id.lt(after)),
            None => select,
        };
        select.order_by_desc(id).limit(self.fetch())
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, after: None }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use sea_orm::{DbBackend, QueryTrait, entity::prelude::*};

    use super::*;

    mod rows {
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
        #[sea_orm(table_name = "rows")]
        pub struct Model {
            #[sea_orm(primary_key, auto_increment = false)]
            pub id: Uuid,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ActiveModelBehavior for ActiveModel {}
    }

    #[test]
    fn a_limit_outside_its_bounds_is_no_page() {
        assert_eq!(Page::new(0, None), None);
        assert_eq!(Page::new(1001, None), None);
        assert_eq!(Page::new(100, None), Some(Page::default()));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only the text of the statement is looked at")]
    fn a_page_reads_one_row_more_than_it_shows_from_its_position_on() {
        let select = rows::Entity::find();
        let sql = |select: Select<rows::Entity>| select.build(DbBackend::Postgres).to_string();
        let first = Page::new(2, None).unwrap();
        assert_eq!(
            sql(first.apply(select.clone(), rows::Column::Id)),
            "SELECT \"rows\".\"id\" FROM \"rows\" ORDER BY \"rows\".\"id\" DESC LIMIT 3"
        );
        let next = Page::new(2, Some(Uuid::nil())).unwrap();
        assert_eq!(
            sql(next.apply(select, rows::Column::Id)),
            "SELECT \"rows\".\"id\" FROM \"rows\" WHERE \"rows\".\"id\" < \
             '00000000-0000-0000-0000-000000000000' ORDER BY \"rows\".\"id\" DESC LIMIT 3"
        );
    }
}
