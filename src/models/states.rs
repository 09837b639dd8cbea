//! The states that rows go through, each with the moves it allows. The guarded UPDATEs repeat the same rules in SQL.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, DeriveActiveEnum, Serialize, Deserialize)]
        #[sea_orm(rs_type = "String", db_type = "Text")]
        pub enum $name { $($(#[$vdoc])* #[sea_orm(string_value = $text)] #[serde(rename = $text)] $variant,)+ }

        // By hand: the derive does not see a name that a macro gives.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                use utoipa::openapi::schema::{ObjectBuilder, Type};
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some([$($text),+])).into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl $name {
            /// Every state, in the order of the declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in the database and in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The state of that name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

text_enum! {
    /// Where a campaign stands.
    CampaignStatus {
        /// Never dispatched.
        Pending = "pending",
        /// Sending, or waiting to.
        Active = "active",
        /// Held by its owner, or because none of its credentials may send.
        Paused = "paused",
        /// Nothing that was dispatched can send any more.
        Completed = "completed",
    }
}

impl CampaignStatus {
    /// Whether a campaign may go from `self` to `next`.
    pub const fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Pending | Self::Completed | Self::Paused, Self::Active)
                | (Self::Active, Self::Paused | Self::Completed | Self::Active)
        )
    }
}

text_enum! {
    /// What has happened to an enrollment: the highest that did, in rising order.
    EnrollmentStatus {
        /// Nothing was accepted yet.
        Pending = "pending",
        /// At least one step was accepted.
        Sent = "sent",
        /// A message was opened.
        Opened = "opened",
        /// The contact answered.
        Replied = "replied",
        /// The address bounced.
        Bounced = "bounced",
        /// The contact unsubscribed.
        Unsubscribed = "unsubscribed",
    }
}

impl EnrollmentStatus {
    /// How high the status stands; a status is never replaced by a lower one.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Sent => 1,
            Self::Opened => 2,
            Self::Replied => 3,
            Self::Bounced => 4,
            Self::Unsubscribed => 5,
        }
    }

    /// Whether the status may be raised to `next`.
    pub const fn can_become(self, next: Self) -> bool {
        next.rank() > self.rank()
    }

    /// The higher of two.
    #[must_use]
    pub const fn raised_to(self, other: Self) -> Self {
        if self.can_become(other) { other } else { self }
    }

    /// Whether this ends the sequence.
    pub const fn stops(self) -> bool {
        matches!(self, Self::Replied | Self::Bounced | Self::Unsubscribed)
    }
}

text_enum! {
    /// Where the send path stands with an enrollment.
    Progress {
        /// The first step was not taken by a lane yet.
        Queued = "queued",
        /// A lane holds its delivery.
        Claimed = "claimed",
        /// The next step, or another try, waits for its time on its lane.
        Waiting = "waiting",
        /// Held by a delivery whose outcome nobody knows.
        Uncertain = "uncertain",
        /// Nothing more will be sent.
        Finished = "finished",
    }
}

impl Progress {
    /// Whether the send path may move from `self` to `next`.
    pub const fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Queued | Self::Waiting, Self::Claimed | Self::Finished)
                | (Self::Claimed, Self::Queued | Self::Waiting | Self::Uncertain | Self::Finished)
                | (Self::Uncertain, Self::Queued | Self::Waiting | Self::Finished)
        )
    }
}

text_enum! {
    /// What became of one step for one enrollment.
    DeliveryState {
        /// To be sent.
        Queued = "queued",
        /// Held by a lane, nothing handed over yet; clients see it as queued.
        Claimed = "claimed",
        /// Marked: its content may be on the wire.
        Sending = "sending",
        /// Put off by the server; tried again later.
        Deferred = "deferred",
        /// Accepted by the server.
        Sent = "sent",
        /// Refused for good.
        Bounced = "bounced",
        /// Not sent, because the enrollment was finished.
        Skipped = "skipped",
        /// Marked, and nobody knows what became of it.
        Uncertain = "uncertain",
    }
}

impl DeliveryState {
    /// Whether column `stage`, which the partial indexes of the table name, has this very word: that of a state which few
    /// rows have, and in which no lane holds them.
    pub const fn is_stage(self) -> bool {
        !matches!(self, Self::Claimed | Self::Sending | Self::Sent)
    }

    /// Whether a delivery may go from `self` to `next`.
    pub const fn can_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Queued | Self::Deferred, Self::Claimed | Self::Skipped)
                | (
                    Self::Claimed,
                    Self::Sending | Self::Queued | Self::Deferred | Self::Skipped | Self::Bounced
                )
                | (
                    Self::Sending,
                    Self::Sent
                        | Self::Deferred
                        | Self::Bounced
                        | Self::Queued
                        | Self::Skipped
                        | Self::Uncertain
                )
                // Accepted, and come back later.
                | (Self::Sent, Self::Bounced)
                | (
                    Self::Uncertain,
                    Self::Sent | Self::Queued | Self::Bounced | Self::Deferred | Self::Skipped
                )
        )
    }

    /// The word that clients see.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Claimed => Self::Queued.as_str(),
            Self::Queued
            | Self::Sending
            | Self::Deferred
            | Self::Sent
            | Self::Bounced
            | Self::Skipped
            | Self::Uncertain => self.as_str(),
        }
    }
}

text_enum! {
    /// Work that goes on in the background.
    JobStatus {
        /// Going on.
        Processing = "processing",
        /// Done.
        Completed = "completed",
        /// Given up.
        Failed = "failed",
    }
}

text_enum! {
    /// Through what kind of program a key is used.
    ClientKind {
        /// The API itself.
        Direct = "direct",
        /// A Model Context Protocol server.
        Mcp = "mcp",
        /// A client library.
        Sdk = "sdk",
    }
}

text_enum! {
    /// Why the sender stopped using a credential.
    DisabledReason {
        /// The server refused the user name and password.
        Auth = "auth",
        /// The server refuses this sender's mail.
        Policy = "policy",
        /// Too many of its messages bounced.
        BounceRate = "bounce_rate",
    }
}

text_enum! {
    /// Why enrolling left a contact out.
    SkipKind {
        /// The domain takes no mail.
        MxInvalid = "mx_invalid",
        /// A sibling campaign of an outreach with unique contacts has it.
        CrossCampaignDuplicate = "cross_campaign_duplicate",
    }
}

text_enum! {
    /// What became of a test message.
    TestState {
        /// Quota taken, nothing handed over yet.
        Claimed = "claimed",
        /// Marked: its content may be on the wire.
        Sending = "sending",
        /// Accepted.
        Sent = "sent",
        /// Not accepted.
        Failed = "failed",
        /// Marked, and nobody knows what became of it.
        Uncertain = "uncertain",
    }
}

text_enum! {
    /// What a webhook tells of.
    EventType {
        /// A step was accepted.
        EnrollmentSent = "enrollment.sent",
        /// A message was opened for the first time.
        EnrollmentOpened = "enrollment.opened",
        /// The contact answered.
        EnrollmentReplied = "enrollment.replied",
        /// The address bounced.
        EnrollmentBounced = "enrollment.bounced",
        /// The contact unsubscribed.
        EnrollmentUnsubscribed = "enrollment.unsubscribed",
        /// A credential was disabled.
        CredentialDisabled = "credential.disabled",
        /// A campaign was paused.
        CampaignPaused = "campaign.paused",
        /// Somebody tries whether the endpoint answers; no filter names it.
        WebhookTest = "webhook.test",
    }
}

text_enum! {
    /// What became of an event for one webhook.
    WebhookState {
        /// To be sent, for the first time or again.
        Pending = "pending",
        /// The endpoint took it.
        Delivered = "delivered",
        /// Given up.
        Failed = "failed",
    }
}
