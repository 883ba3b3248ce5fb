//! Why the books say no (LEDGER 4): closed, in order of precedence, numbered for ever.
//!
//! If several hold, the first of this list is the answer; `insufficient_funds` is last, so that
//! who sees it knows that topping up suffices.

/// A refusal of the books. The number is its code in the journal and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[repr(u16)]
pub enum Refusal {
    /// The idempotency key came before with another request.
    #[error("the idempotency key was used before with another request")]
    IdempotencyKeyReused = 10,
    /// The client id came before with other fields.
    #[error("the id was used before with other fields")]
    IdReused = 11,
    /// Debit and credit are the same account.
    #[error("both sides are the same account")]
    SameAccount = 20,
    /// A node's account cannot act as a user's, nor the other way round.
    #[error("the account is of another kind")]
    AccountKindConflict = 21,
    /// No such account.
    #[error("there is no such account")]
    AccountNotFound = 22,
    /// The supply would exceed its cap.
    #[error("the supply of credits would exceed its cap")]
    SupplyCap = 23,
    /// No such node.
    #[error("there is no such node")]
    NodeNotFound = 30,
    /// The node is registered and `allow_update` is not set.
    #[error("the node is registered already")]
    NodeExists = 31,
    /// The node is banned.
    #[error("the node is banned")]
    NodeBanned = 32,
    /// The node has no price at the start of the meter, or is unknown.
    #[error("the node has no price for that period")]
    NodePriceMissing = 33,
    /// The node's price is above the payer's maximum.
    #[error("the price is above the maximum that the payer accepts")]
    PriceAboveMax = 34,
    /// More vCPUs than the node has.
    #[error("the node has not that many vCPUs")]
    CapacityExceeded = 35,
    /// The period overlaps an unequal one of the same account and node.
    #[error("the period overlaps another of the same account and node")]
    PeriodOverlap = 40,
    /// The period has not ended, or an observer has not reported past its end.
    #[error("the period is still open")]
    PeriodOpen = 41,
    /// The period is settled for good.
    #[error("the period is finalized")]
    PeriodFinalized = 42,
    /// Open locks need the stake.
    #[error("the stake backs open locks")]
    StakeInUse = 43,
    /// No such lock.
    #[error("there is no such lock")]
    LockNotFound = 50,
    /// The lock's time has begun, or is too near.
    #[error("the lock has started")]
    LockStarted = 51,
    /// The lock was settled, released or expired.
    #[error("the lock is resolved")]
    LockResolved = 52,
    /// No such abuse report.
    #[error("there is no such report")]
    ReportNotFound = 60,
    /// The report was decided otherwise.
    #[error("the report was decided otherwise")]
    ReportAlreadyDecided = 61,
    /// No such slash.
    #[error("there is no such slash")]
    SlashNotFound = 62,
    /// The slash was decided otherwise.
    #[error("the slash was decided otherwise")]
    SlashAlreadyDecided = 63,
    /// Not enough is available.
    #[error("not enough credits are available")]
    InsufficientFunds = 70,
}

impl Refusal {
    /// Every refusal, in order of precedence.
    pub const ALL: [Self; 24] = [
        Self::IdempotencyKeyReused,
        Self::IdReused,
        Self::SameAccount,
        Self::AccountKindConflict,
        Self::AccountNotFound,
        Self::SupplyCap,
        Self::NodeNotFound,
        Self::NodeExists,
        Self::NodeBanned,
        Self::NodePriceMissing,
        Self::PriceAboveMax,
        Self::CapacityExceeded,
        Self::PeriodOverlap,
        Self::PeriodOpen,
        Self::PeriodFinalized,
        Self::StakeInUse,
        Self::LockNotFound,
        Self::LockStarted,
        Self::LockResolved,
        Self::ReportNotFound,
        Self::ReportAlreadyDecided,
        Self::SlashNotFound,
        Self::SlashAlreadyDecided,
        Self::InsufficientFunds,
    ];

    /// Its number in the journal.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The refusal of this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|refusal| refusal.number() == number)
    }
}
