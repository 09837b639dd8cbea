//! What a page of each list costs, by the plans that the databases make for tables of a hundred thousand rows: as much in
//! the middle of a list as at its beginning, whether the list is most of its table or three rows of it.
//!
//! The queries are those of the models, the rows are copies of one row of each table.

use std::{collections::BTreeSet, fmt::Write as _};

use ampout::{
    clock::Timestamp,
    inbound::apply::sent_to_sql,
    models::{
        _entities::{
            api_keys, batches, campaigns as campaign_rows, contact_imports, contacts as contact_rows,
            deliveries as delivery_rows, enrollment_skips as skip_rows, enrollments as enrollment_rows,
            outreaches, smtp_credentials, webhook_deliveries as webhook_delivery_rows, webhooks,
        },
        campaigns, contacts, deliveries, enrollment_skips, enrollments,
        states::{CampaignStatus, DeliveryState, EnrollmentStatus},
        webhook_deliveries,
    },
    paging::Page,
    sending::{
        lanes::{Room, look_sql},
        stranded,
    },
    tenancy::{Conn, Scope, SystemScope},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, IdenStatic, Iterable, QueryFilter, QueryResult,
    QueryTrait, Select, Statement, TransactionTrait,
};
use serde_json::Value as Json;
use uuid::Uuid;

use super::paging::LISTS;
use crate::{
    support::{World, rows::Rows, world},
    tenancy::operations::rows_of,
};

/// Copies in the large tables, and in those that are smaller by their nature.
const MANY: u32 = 100_000;
const SOME: u32 = 10_000;
/// Rows of the page that is measured.
const SHOWN: u32 = 50;
/// Rows that such a page may look at: its own, one more, and what each of them refers to (a contact, its import).
const LOOKED_AT: f64 = 4.0 * 51.0;

/// What the copies of a table are told apart by.
const KEYS: u32 = 1;
const OUTREACHES: u32 = 2;
const CAMPAIGNS: u32 = 3;
const CREDENTIALS: u32 = 4;
const IMPORTS: u32 = 5;
const CONTACTS: u32 = 6;
const ENROLLMENTS: u32 = 7;
const DELIVERIES: u32 = 8;
const SKIPS: u32 = 9;
const WEBHOOKS: u32 = 10;
const WEBHOOK_DELIVERIES: u32 = 11;
const BATCHES: u32 = 12;

/// The id of a copy.
fn id(kind: u32, number: u32) -> Uuid {
    Uuid::from_u128(u128::from(kind) << 96 | u128::from(number))
}

/// The same in SQL, for the copy at hand: `n`.
fn id_sql(backend: DbBackend, kind: u32) -> String {
    if backend == DbBackend::Postgres {
        format!("CAST('{kind:08x}' || lpad(to_hex(n), 24, '0') AS uuid)")
    } else {
        format!("unhex('{kind:08x}' || printf('%024x', n))")
    }
}

/// The id of one certain row in SQL.
fn one(backend: DbBackend, row: Uuid) -> String {
    let hex = row.simple();
    if backend == DbBackend::Postgres { format!("CAST('{hex}' AS uuid)") } else { format!("x'{hex}'") }
}

/// Copies a row `count` times, some columns differently.
async fn copy<E: EntityTrait>(w: &World, original: Uuid, kind: u32, count: u32, changed: &[(&str, String)]) {
    let backend = w.ctx.db.get_database_backend();
    let own = [("id", id_sql(backend, kind))];
    let columns: Vec<&str> = E::Column::iter().map(|column| column.as_str()).collect();
    let values: Vec<String> = columns
        .iter()
        .map(|column| {
            let found = changed.iter().chain(&own).find(|(name, _)| name == column);
            found.map_or_else(|| format!("o.{column}"), |(_, sql)| sql.clone())
        })
        .collect();
    let table = E::default();
    let sql = format!(
        "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count}) \
         INSERT INTO {table} ({}) SELECT {} FROM series CROSS JOIN {table} o WHERE o.id = $1",
        columns.join(", "),
        values.join(", "),
        table = table.as_str(),
    );
    assert_eq!(w.sql(&sql, [original.into()]).await, u64::from(count));
}

/// Copies the rows of an account: large lists in the first copy of an import, a campaign and a webhook, and the account's
/// own lists.
async fn fill(w: &World, rows: &Rows) {
    let backend = w.ctx.db.get_database_backend();
    let (of, at) = (|kind| id_sql(backend, kind), |kind| one(backend, id(kind, 1)));
    let digest = if backend == DbBackend::Postgres {
        "decode(lpad(to_hex(n), 64, '0'), 'hex')".to_owned()
    } else {
        "unhex(printf('%064x', n))".to_owned()
    };
    copy::<api_keys::Entity>(w, rows.api_key.id, KEYS, SOME, &[("digest", digest)]).await;
    copy::<outreaches::Entity>(w, rows.outreach.id, OUTREACHES, SOME, &[]).await;
    let outreach = [("outreach_id", at(OUTREACHES))];
    copy::<campaign_rows::Entity>(w, rows.campaign.id, CAMPAIGNS, SOME, &outreach).await;
    let campaign = ("campaign_id", at(CAMPAIGNS));
    copy::<smtp_credentials::Entity>(
        w,
        rows.credential.id,
        CREDENTIALS,
        SOME,
        std::slice::from_ref(&campaign),
    )
    .await;
    copy::<contact_imports::Entity>(w, rows.import.id, IMPORTS, SOME, &[]).await;
    let address = ("email_key", "'person-' || n".to_owned());
    let import = ("contact_import_id", at(IMPORTS));
    copy::<contact_rows::Entity>(w, rows.contacts[0].id, CONTACTS, MANY, &[address, import]).await;
    let contact = ("contact_id", of(CONTACTS));
    copy::<batches::Entity>(w, rows.batches[1].id, BATCHES, 1, std::slice::from_ref(&campaign)).await;
    let changed = [campaign.clone(), contact.clone(), ("batch_id", at(BATCHES))];
    copy::<enrollment_rows::Entity>(w, rows.enrollments[1].id, ENROLLMENTS, MANY, &changed).await;
    let enrollment = ("enrollment_id", of(ENROLLMENTS));
    let changed = [campaign.clone(), enrollment];
    copy::<delivery_rows::Entity>(w, rows.delivery.id, DELIVERIES, MANY, &changed).await;
    copy::<skip_rows::Entity>(w, rows.skip.id, SKIPS, MANY, &[campaign, contact]).await;
    copy::<webhooks::Entity>(w, rows.webhook.id, WEBHOOKS, SOME, &[]).await;
    let webhook = [("webhook_id", at(WEBHOOKS))];
    let kind = WEBHOOK_DELIVERIES;
    copy::<webhook_delivery_rows::Entity>(w, rows.webhook_delivery.id, kind, MANY, &webhook).await;
}

/// A query of a list: its route, the statement, and by which terms SQLite is to find the page.
struct Listing {
    route: &'static str,
    statement: Statement,
    terms: &'static str,
}

fn listing<E: EntityTrait>(route: &'static str, terms: &'static str, select: &Select<E>) -> Listing {
    // The backend only quotes and numbers: it is set again where the statement is run.
    Listing { route, statement: select.build(DbBackend::Postgres), terms }
}

/// The lists of the account itself.
fn of_account(scope: &Scope, at: impl Fn(u32, u32) -> Page) -> Vec<Listing> {
    let (few, many) = (SOME / 2, MANY / 2);
    let campaigns = |status, outreach| campaigns::page_of(scope, at(CAMPAIGNS, few), status, outreach);
    let contacts = |listing| contacts::page_of(scope, at(CONTACTS, many), listing);
    let keys = at(KEYS, few).apply(scope.find::<api_keys::Entity>(), api_keys::Column::Id);
    let outreaches = at(OUTREACHES, few).apply(scope.find::<outreaches::Entity>(), outreaches::Column::Id);
    let imports =
        at(IMPORTS, few).apply(scope.find::<contact_imports::Entity>(), contact_imports::Column::Id);
    let webhooks = at(WEBHOOKS, few).apply(scope.find::<webhooks::Entity>(), webhooks::Column::Id);
    let (status, outreach) = (Some(CampaignStatus::Active), Some(id(OUTREACHES, 1)));
    let by_id = "(account_id=? AND id<?)";
    vec![
        listing("/api_keys", by_id, &keys),
        listing("/outreaches", by_id, &outreaches),
        listing("/contact_imports", by_id, &imports),
        listing("/webhooks", by_id, &webhooks),
        listing("/campaigns", by_id, &campaigns(None, None)),
        listing("/campaigns", "(account_id=? AND status=? AND id<?)", &campaigns(status, None)),
        listing("/campaigns", "(account_id=? AND outreach_id=? AND id<?)", &campaigns(None, outreach)),
        listing("/contacts", by_id, &contacts(contacts::Listing::All)),
        listing(
            "/contacts",
            "(account_id=? AND email_key=?)",
            &contacts(contacts::Listing::Address("person-7")),
        ),
    ]
}

/// The lists of one import, campaign and webhook.
fn of_parents(
    scope: &Scope,
    at: impl Fn(u32, u32) -> Page,
    [import, campaign, webhook]: [Uuid; 3],
) -> Vec<Listing> {
    let many = MANY / 2;
    let contacts = contacts::page_of(scope, at(CONTACTS, many), contacts::Listing::Import(import));
    let enrollments =
        |status, batch| enrollments::page_of(scope, campaign, at(ENROLLMENTS, many), status, batch);
    let deliveries = |state: Option<DeliveryState>| {
        deliveries::page_of(scope, campaign, at(DELIVERIES, many), state.as_ref().map(std::slice::from_ref))
    };
    let skips = enrollment_skips::page_of(scope, campaign, at(SKIPS, many));
    let credentials =
        scope.find::<smtp_credentials::Entity>().filter(smtp_credentials::Column::CampaignId.eq(campaign));
    let credentials = at(CREDENTIALS, SOME / 2).apply(credentials, smtp_credentials::Column::Id);
    let events = webhook_deliveries::page_of(scope, webhook, at(WEBHOOK_DELIVERIES, many));
    let (of_campaign, of_webhook) = ("(campaign_id=? AND id<?)", "(account_id=? AND webhook_id=? AND id<?)");
    let of_import = "(account_id=? AND contact_import_id=? AND id<?)";
    let (status, state) = (Some(EnrollmentStatus::Pending), Some(DeliveryState::Uncertain));
    let route = "/campaigns/{campaign_id}/enrollments";
    vec![
        listing("/contact_imports/{id}/contacts", of_import, &contacts),
        listing(route, "(account_id=? AND campaign_id=? AND id<?)", &enrollments(None, None)),
        listing(route, "(account_id=? AND campaign_id=? AND status=? AND id<?)", &enrollments(status, None)),
        listing(
            route,
            "(account_id=? AND campaign_id=? AND batch_number=? AND id<?)",
            &enrollments(None, Some(2)),
        ),
        listing("/campaigns/{id}/deliveries", of_campaign, &deliveries(None)),
        listing("/campaigns/{id}/deliveries", of_campaign, &deliveries(state)),
        listing("/campaigns/{campaign_id}/enrollment_skips", of_campaign, &skips),
        listing(
            "/campaigns/{campaign_id}/smtp_credentials",
            "(account_id=? AND campaign_id=? AND id<?)",
            &credentials,
        ),
        listing("/webhooks/{id}/deliveries", of_webhook, &events),
    ]
}

/// Every list, at its beginning or in its middle; of the large parents and of the small ones.
fn listings(scope: &Scope, rows: &Rows) -> Vec<Listing> {
    let page = |after| Page::new(u64::from(SHOWN), Some(after)).unwrap();
    let middle = |kind, number| page(id(kind, number));
    // Behind every id: the query is that of a first page, but with the same terms.
    let first = |_, _| page(Uuid::max());
    let large = [id(IMPORTS, 1), id(CAMPAIGNS, 1), id(WEBHOOKS, 1)];
    let small = [rows.import.id, rows.campaign.id, rows.webhook.id];
    let mut all = of_account(scope, middle);
    all.extend(of_account(scope, first));
    for parents in [large, small] {
        all.extend(of_parents(scope, middle, parents));
        all.extend(of_parents(scope, first, parents));
    }
    all
}

/// Runs a statement behind EXPLAIN.
async fn explained(db: &impl ConnectionTrait, explain: &str, listing: &Listing) -> Vec<QueryResult> {
    let statement = &listing.statement;
    let statement = Statement {
        sql: format!("{explain} {}", statement.sql),
        values: statement.values.clone(),
        db_backend: db.get_database_backend(),
    };
    db.query_all_raw(statement).await.unwrap()
}

/// Rows that the scans below a node of a plan of PostgreSQL looked at, those that a filter left out included.
fn looked_at(node: &Json) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or_default();
    let plans = node["Plans"].as_array().into_iter().flatten();
    let below: f64 = plans.map(looked_at).sum();
    let scans = node.get("Relation Name").is_some();
    let each =
        number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    if scans { each.mul_add(number("Actual Loops"), below) } else { below }
}

/// Whether anything puts several rows in order. One that a merge join "sorts" for each row of the page is no page sorted.
fn sorts(node: &Json) -> bool {
    let several = node["Node Type"].as_str().is_some_and(|kind| kind.contains("Sort"))
        && node["Actual Rows"].as_f64().unwrap_or(f64::INFINITY) > 1.0;
    several || node["Plans"].as_array().is_some_and(|plans| plans.iter().any(sorts))
}

/// Statistics of every row: those of a sample differ from time to time, and the plans with them.
const WHOLE: &str = "SET LOCAL default_statistics_target = 1000; ANALYZE";
/// Joins are the planner's to choose, and some of them walk a table: a page looks each row up that it refers to, and has
/// nothing to join.
const UNJOINED: &str = "SET LOCAL enable_nestloop = off";

async fn hold_postgres(w: &World, listings: &[Listing]) -> String {
    // One transaction: one connection, and nobody else's statistics.
    let tx = w.ctx.db.begin().await.unwrap();
    tx.execute_unprepared(WHOLE).await.unwrap();
    let mut wrong = looks(&tx, listings).await;
    tx.execute_unprepared(UNJOINED).await.unwrap();
    wrong.push_str(&looks(&tx, listings).await);
    wrong
}

/// Those of the lists that look at more than their page.
async fn looks(db: &impl ConnectionTrait, listings: &[Listing]) -> String {
    let mut wrong = String::new();
    for listing in listings {
        let rows = explained(db, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON)", listing).await;
        let plan: Json = rows[0].try_get_by_index(0).unwrap();
        let (sorts, looked_at) = (sorts(&plan[0]["Plan"]), looked_at(&plan[0]["Plan"]));
        if looked_at > LOOKED_AT || sorts && looked_at > f64::from(SHOWN) {
            writeln!(wrong, "{} looks at {looked_at}: {plan:#}", listing.route).unwrap();
        }
    }
    wrong
}

async fn hold_sqlite(w: &World, listings: &[Listing]) -> String {
    let mut wrong = String::new();
    for listing in listings {
        let rows = explained(&w.ctx.db, "EXPLAIN QUERY PLAN", listing).await;
        let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
        let plan = plan.join("\n");
        let sorts = plan.contains("TEMP B-TREE") || plan.contains("SCAN ");
        if sorts || !plan.contains(listing.terms) {
            writeln!(wrong, "{} {}:\n{plan}", listing.route, listing.terms).unwrap();
        }
    }
    wrong
}

#[tokio::test]
async fn a_page_of_every_list_looks_at_its_own_rows_only_however_deep_it_is() {
    world(|w| async move {
        let rows = rows_of(&w, &w.alice).await;
        rows_of(&w, &w.bob).await;
        fill(&w, &rows).await;
        let account_id: Uuid = w.alice.account_id.parse().unwrap();
        let scope = SystemScope::new(Conn::Pool(w.ctx.db.clone())).account(account_id);
        let mut listings = listings(&scope, &rows);
        let routes: BTreeSet<&str> = listings.iter().map(|listing| listing.route).collect();
        assert_eq!(routes, LISTS.into(), "a list without its query here");
        let backend = w.ctx.db.get_database_backend();
        let values = [account_id.into(), id(CONTACTS, 1).into()];
        let statement = Statement::from_sql_and_values(backend, contacts::shown_sql(backend), values);
        listings.push(Listing {
            route: "/contacts/{id}",
            statement,
            terms: "(account_id=? AND contact_id=?)",
        });
        let wrong = if w.ctx.db.get_database_backend() == DbBackend::Postgres {
            hold_postgres(&w, &listings).await
        } else {
            // With and without statistics: nothing makes SQLite gather them.
            let before = hold_sqlite(&w, &listings).await;
            w.sql("ANALYZE", []).await;
            before + &hold_sqlite(&w, &listings).await
        };
        assert!(wrong.is_empty(), "{wrong}");
    })
    .await;
}

/// What the sender and the recovery ask again and again, and by which indexes SQLite is to find it.
fn looks_for_lanes(backend: DbBackend) -> Vec<(&'static [&'static str], Listing)> {
    let look = look_sql(backend, &Room { all: 64, failing: 8, crowded: Vec::new() }, &[], Timestamp::now());
    let closed = [Timestamp::now().micros().into()];
    let listing = |route, statement| Listing { route, statement, terms: "" };
    vec![
        (
            &["ix_smtp_credentials_wake"],
            listing(
                "the next lanes",
                Statement::from_sql_and_values(DbBackend::Postgres, &look.text, look.values),
            ),
        ),
        (
            &["ix_smtp_credentials_deleted", "ix_smtp_credentials_disabled"],
            listing(
                "lanes that are closed for good",
                Statement::from_sql_and_values(DbBackend::Postgres, stranded::CLOSED, closed),
            ),
        ),
    ]
}

/// Ten thousand lanes are open and fail: none of them is closed, and few are taken at a time.
#[tokio::test]
async fn a_look_for_lanes_looks_at_those_only_that_it_is_for() {
    world(|w| async move {
        let rows = rows_of(&w, &w.alice).await;
        rows_of(&w, &w.bob).await;
        let text = |sql: &str| sql.to_owned();
        let failing = [
            ("holder", text("NULL")),
            ("disabled_at", text("NULL")),
            ("disabled_reason", text("NULL")),
            ("deleted_at", text("NULL")),
            ("next_send_at", text("0")),
            ("wake_at", text("n")),
            ("failures", text("3")),
        ];
        copy::<smtp_credentials::Entity>(&w, rows.credential.id, CREDENTIALS, SOME, &failing).await;
        let backend = w.ctx.db.get_database_backend();
        let (named, looks_at): (Vec<_>, Vec<_>) = looks_for_lanes(backend).into_iter().unzip();
        if backend == DbBackend::Postgres {
            let tx = w.ctx.db.begin().await.unwrap();
            tx.execute_unprepared(WHOLE).await.unwrap();
            let wrong = looks(&tx, &looks_at).await;
            assert!(wrong.is_empty(), "{wrong}");
            return;
        }
        for (named, listing) in named.into_iter().zip(&looks_at) {
            let rows = explained(&w.ctx.db, "EXPLAIN QUERY PLAN", listing).await;
            let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            let plan = plan.join("\n");
            assert!(!plan.contains("SCAN smtp_credentials"), "{plan}");
            assert!(named.iter().all(|index| plan.contains(index)), "{}:\n{plan}", listing.route);
        }
    })
    .await;
}

/// `PostgreSQL` chooses by what it knows of the tables, SQLite by the statement alone.
#[tokio::test]
async fn what_was_sent_to_an_address_is_found_by_its_enrollments() {
    world(|w| async move {
        let backend = w.ctx.db.get_database_backend();
        if backend == DbBackend::Postgres {
            return;
        }
        let sql = format!("EXPLAIN QUERY PLAN {}", sent_to_sql());
        let values = [w.alice.account_id.parse::<Uuid>().unwrap().into(), "a@example.com".into()];
        let plan =
            w.ctx.db.query_all_raw(Statement::from_sql_and_values(backend, &sql, values)).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("SEARCH d USING INDEX uq_deliveries_step"), "{plan}");
        assert!(!plan.contains("SCAN d") && !plan.contains("SCAN e\n"), "{plan}");
    })
    .await;
}
