//! Closed sets of words, each with a number for the journal and the store.

/// A closed set of words with a number for the journal and the store.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $number,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its number in the journal and the store, for ever.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The value of this number.
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.number() == number)
            }

            /// Its word outside.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words!(
    /// What an account is for.
    AccountKind {
        /// Neither user nor node so far: a transfer opened it.
        Unfixed = 1 "unfixed",
        /// A user's wallet.
        User = 2 "user",
        /// A node's earnings.
        Node = 3 "node",
        /// A node's pay that rests.
        Held = 4 "held",
        /// A node's stake.
        Stake = 5 "stake",
        /// A node's stake on its way out.
        Unbonding = 6 "unbonding",
        /// `sys:slash_pool`.
        Pool = 7 "pool",
        /// Where money comes from and goes to: may be negative.
        Contra = 8 "contra",
    }
);

words!(
    /// What a transfer is.
    TransferKind {
        /// Credits are minted.
        Purchase = 1 "purchase",
        /// A person moves credits.
        Transfer = 2 "transfer",
        /// Credits are set aside: moves nothing yet.
        Lock = 3 "lock",
        /// A lock pays.
        Settle = 4 "settle",
        /// A lock gives back: moves nothing.
        Refund = 5 "refund",
        /// A lock ends unsettled: moves nothing.
        Expire = 6 "expire",
        /// Held pay becomes earnings.
        HoldRelease = 7 "hold_release",
        /// Wallet to stake.
        StakeDeposit = 8 "stake_deposit",
        /// Stake from outside, by an admin.
        ExternalStake = 9 "external_stake",
        /// Stake to unbonding.
        UnbondBegin = 10 "unbond_begin",
        /// Unbonding to wallet.
        UnbondRelease = 11 "unbond_release",
        /// Stake to the slash pool.
        Slash = 12 "slash",
        /// Pay of a failed period back to users.
        Clawback = 13 "clawback",
        /// A debt paid from later earnings.
        ClaimPayment = 14 "claim_payment",
        /// Credits leave the books.
        Payout = 15 "payout",
        /// An admin's correction.
        Adjust = 16 "adjust",
    }
);

impl TransferKind {
    /// Whether the amount goes from the debit to the credit; a lock and what of it comes back move
    /// nothing.
    pub const fn moves_money(self) -> bool {
        match self {
            Self::Lock | Self::Refund | Self::Expire => false,
            Self::Purchase
            | Self::Transfer
            | Self::Settle
            | Self::HoldRelease
            | Self::StakeDeposit
            | Self::ExternalStake
            | Self::UnbondBegin
            | Self::UnbondRelease
            | Self::Slash
            | Self::Clawback
            | Self::ClaimPayment
            | Self::Payout
            | Self::Adjust => true,
        }
    }
}

words!(
    /// What a pass pays.
    LockMode {
        /// The charge of the meter.
        Metered = 1 "metered",
        /// All of it.
        Reserved = 2 "reserved",
    }
);

words!(
    /// What became of a lock.
    LockState {
        /// Neither paid nor given back.
        Open = 1 "open",
        /// A verdict resolved it.
        Settled = 2 "settled",
        /// Given back before it started.
        Released = 3 "released",
        /// Its deadline passed without verdict.
        Expired = 4 "expired",
    }
);

words!(
    /// How far a usage report got.
    UsageState {
        /// Its charge is locked or paid.
        Collected = 1 "collected",
        /// The payer had no funds: nothing is owed, it stays for the record.
        Uncollected = 2 "uncollected",
    }
);

words!(
    /// The promise that a node's stake backs.
    StakeTier {
        /// 99.999 %.
        Premium = 1 "premium",
        /// 99.99 %.
        Standard = 2 "standard",
        /// 99.9 %.
        Economy = 3 "economy",
    }
);

words!(
    /// One of the two tracks of coverage.
    Track {
        /// Health.
        Health = 1 "health",
        /// Attestation.
        Attestation = 2 "attestation",
    }
);

words!(
    /// A breach.
    BreachCause {
        /// No pass in time.
        HealthTimeout = 1 "health_timeout",
        /// The agent said `fail`.
        HealthFail = 2 "health_fail",
        /// No attestation in time.
        AttestTimeout = 3 "attest_timeout",
        /// An attestation was rejected.
        AttestRejected = 4 "attest_rejected",
        /// Abuse was authorised.
        Abuse = 5 "abuse_authorized",
    }
);

words!(
    /// Something without which no verdict on evidence is possible.
    Dependency {
        /// Intel's collateral.
        Pccs = 1 "pccs",
        /// GitHub.
        Github = 2 "github",
        /// Our own admission queue.
        Admission = 3 "admission",
    }
);

words!(
    /// A kind of fact; what it concerns is its cause.
    FactKind {
        /// The health track was covered.
        Health = 1 "health",
        /// The attestation track was covered.
        Attestation = 2 "attestation",
        /// A breach.
        Breach = 3 "breach",
        /// The node waited for a dependency.
        Waiting = 4 "waiting",
        /// A dependency was down; no node.
        DependencyDown = 5 "dependency_down",
        /// The node was not in good standing.
        Lack = 6 "lack",
    }
);

words!(
    /// The judgement of a period.
    Verdict {
        /// The node did its part.
        Pass = 1 "pass",
        /// It did not.
        Fail = 2 "fail",
        /// Nobody's fault, too little seen.
        Inconclusive = 3 "inconclusive",
    }
);

words!(
    /// Why a period failed or could not be judged (LEDGER 7).
    Reason {
        /// No such node.
        NodeNotFound = 1 "node_not_found",
        /// The node took no part.
        NodeInactive = 2 "node_inactive",
        /// An attestation was rejected.
        AttestationInvalid = 3 "attestation_invalid",
        /// The agent said `fail`.
        HealthFail = 4 "health_fail",
        /// Less stake than its network demands.
        StakeMissing = 5 "stake_missing",
        /// Health was not covered.
        HealthMiss = 6 "health_miss",
        /// Attestation was not covered.
        AttestMiss = 7 "attest_miss",
        /// Abuse was authorised.
        AbuseAuthorized = 8 "abuse_authorized",
        /// Nothing was seen.
        NoEvidence = 9 "no_evidence",
        /// Its registration ended.
        RegistrationExpired = 10 "registration_expired",
        /// Too little was seen.
        Inconclusive = 11 "inconclusive",
    }
);

words!(
    /// Why a node is not in good standing. Never excused.
    Lack {
        /// It is banned.
        Inactive = 1 "node_inactive",
        /// Less stake than its network demands.
        Stake = 2 "stake_missing",
        /// Its registration ended.
        Registration = 3 "registration_expired",
    }
);

words!(
    /// How a fact, or the life of an observer, ended.
    Ending {
        /// It has not: a fact holds as long as its observer lives.
        Open = 1 "open",
        /// Somebody saw it end.
        Seen = 2 "seen",
        /// The observer died: cut at the last that is known.
        Lost = 3 "lost",
    }
);

words!(
    /// How far a settlement got.
    SettlementState {
        /// Judged, locks are being resolved.
        Settling = 1 "settling",
        /// No lock is left.
        Settled = 2 "settled",
        /// Inconclusive: facts may still come until the deadline.
        Awaiting = 3 "awaiting",
    }
);

words!(
    /// What became of an abuse report or a slash.
    ReportState {
        /// Undecided.
        Pending = 1 "pending",
        /// It is so.
        Authorized = 2 "authorized",
        /// It is not.
        Denied = 3 "denied",
        /// It was so, until a later record said otherwise.
        Overturned = 4 "overturned",
    }
);

words!(
    /// What was decided on a report or slash.
    Decision {
        /// It is so.
        Authorize = 1 "authorize",
        /// It is not.
        Deny = 2 "deny",
        /// What was authorised was wrong; moves no money.
        Overturn = 3 "overturn",
    }
);

words!(
    /// Why stake is taken.
    SlashReason {
        /// A breach, and the app's lock went to another node: filed automatically.
        DowntimeMigration = 1 "downtime_migration",
        /// Takes all and bans for ever.
        AttestationFraud = 2 "attestation_fraud",
    }
);
