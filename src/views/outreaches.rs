//! Outreaches as clients see them.

use serde::Serialize;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    models::{
        campaigns,
        outreaches::{Detail, Model, Totals},
        states::CampaignStatus,
    },
};

/// An outreach in a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Outreach {
    id: Uuid,
    name: String,
    unique_contacts: bool,
    created_at: Timestamp,
}

impl From<Model> for Outreach {
    fn from(row: Model) -> Self {
        let Model { id, account_id: _, name, unique_contacts, created_at } = row;
        Self { id, name, unique_contacts, created_at }
    }
}

/// An outreach on its own.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OutreachDetail {
    #[serde(flatten)]
    outreach: Outreach,
    totals: OutreachTotals,
    campaigns: Vec<OutreachCampaign>,
}

/// Sums over all its campaigns.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct OutreachTotals {
    pending: i64,
    sent: i64,
    opened: i64,
    replied: i64,
    bounced: i64,
}

/// A campaign of the outreach.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct OutreachCampaign {
    id: Uuid,
    name: String,
    status: CampaignStatus,
}

impl From<Detail> for OutreachDetail {
    fn from(detail: Detail) -> Self {
        let Totals { pending, sent, opened, replied, bounced } = detail.totals;
        Self {
            outreach: detail.outreach.into(),
            totals: OutreachTotals { pending, sent, opened, replied, bounced },
            campaigns: detail.campaigns.into_iter().map(OutreachCampaign::from).collect(),
        }
    }
}

impl From<campaigns::Model> for OutreachCampaign {
    fn from(row: campaigns::Model) -> Self {
        Self { id: row.id, name: row.name, status: row.status }
    }
}
