//! Who is calling.

use uuid::Uuid;

use crate::models::states::ClientKind;

/// The holder of an active API key, as authentication found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) account_id: Uuid,
    pub(crate) api_key_id: Uuid,
    pub(crate) client_kind: ClientKind,
}

impl Caller {
    /// The account that the key belongs to.
    pub const fn account_id(&self) -> Uuid {
        self.account_id
    }

    /// The key in use.
    pub const fn api_key_id(&self) -> Uuid {
        self.api_key_id
    }

    /// What kind of program the key was made for.
    pub const fn client_kind(&self) -> ClientKind {
        self.client_kind
    }
}
