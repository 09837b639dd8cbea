//! What `GET /usage` answers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    clock::Timestamp,
    models::{
        states::ClientKind,
        usage::{Summary, Top},
    },
};

/// What an account asked for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Usage {
    since: Timestamp,
    total: i64,
    by_kind: BTreeMap<ClientKind, i64>,
    by_kind_per_day: BTreeMap<ClientKind, BTreeMap<String, i64>>,
    top_paths: Vec<TopPath>,
}

/// An operation and how often it was asked for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TopPath {
    client_kind: ClientKind,
    method: String,
    path: String,
    count: i64,
}

impl Usage {
    /// Shows the sums since a moment: every kind in `by_kind`, days with requests in `by_kind_per_day`.
    pub fn new(since: Timestamp, summary: Summary) -> Self {
        let kinds = [ClientKind::Direct, ClientKind::Mcp, ClientKind::Sdk];
        let mut by_kind: BTreeMap<ClientKind, i64> = kinds.into_iter().map(|kind| (kind, 0)).collect();
        let mut by_kind_per_day: BTreeMap<ClientKind, BTreeMap<String, i64>> = BTreeMap::new();
        for ((kind, day), requests) in summary.days {
            *by_kind.entry(kind).or_default() += requests;
            let date = Timestamp::from_day(day).to_datetime().format("%Y-%m-%d").to_string();
            by_kind_per_day.entry(kind).or_default().insert(date, requests);
        }
        let top_paths = summary.top.into_iter().map(TopPath::from).collect();
        Self { since, total: by_kind.values().sum(), by_kind, by_kind_per_day, top_paths }
    }
}

impl From<Top> for TopPath {
    fn from(top: Top) -> Self {
        let Top { client_kind, method, path, count } = top;
        Self { client_kind, method, path, count }
    }
}
