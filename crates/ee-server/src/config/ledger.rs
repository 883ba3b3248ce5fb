//! Settings of the ledger, and the policy that the books get of them (LEDGER 5 to 10).

use std::time::Duration;

use ee_core::books::policy::{Policy, RULES};
use ee_protocol::{
    money::MicroUsd,
    settings::{Origin, Reader, Secret, comma_list, integer, present, seconds},
};

use super::{DAY_SECS, Settings};

/// Shorter periods cost more in settlements than they are worth (LEDGER 6).
const PERIOD_MIN_SECS: u64 = 10;
/// A year: longer waits of money are mistakes.
const WAIT_MAX_SECS: u64 = 366 * DAY_SECS;
/// Ten years: whoever keeps more keeps it elsewhere.
const BACKUP_KEEP_DAYS_MAX: u64 = 3_660;
/// Tiers of stake in the order of the books.
const TIERS: [&str; 3] = ["premium", "standard", "economy"];
/// Beyond it a start would take minutes.
const REDO_MAX: u64 = 100_000_000;
/// What "more than 0" means: the smallest amount there is.
const STAKE_MIN: MicroUsd = MicroUsd::from_micros(1);

/// All settings of the ledger, valid together.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// PostgreSQL for the books; none: SQLite.
    pub database_url: Option<Secret>,
    /// About how many transfers account rows may lag, which a start takes in.
    pub redo: u64,
    /// Where backups go.
    pub backup_dir: Option<std::path::PathBuf>,
    /// How far back every moment can be restored.
    pub backup_keep: Duration,
    /// Length of a billing period.
    pub period: Duration,
    /// How long before a period its locks are renewed; at most half a period.
    pub lock_lead: Duration,
    /// From the end of a period to its settlement.
    pub settlement_grace: Duration,
    /// From the end of a period to the verdict by force.
    pub settlement_deadline: Duration,
    /// How long an undecided abuse report defers a settlement.
    pub abuse_decision: Duration,
    /// How long pay rests.
    pub payout_hold: Duration,
    /// How long withdrawn stake stays slashable.
    pub unbonding: Duration,
    /// From the filing of an automatic slash to its execution.
    pub slash_delay: Duration,
    /// Least stake of premium, standard and economy nodes on forge-1.
    pub stake_min: [MicroUsd; 3],
}

/// Reads and checks them; `None` if one is wrong, which is recorded.
pub(super) fn read(reader: &mut Reader) -> Option<LedgerSettings> {
    let database_url = database_url(reader);
    let redo = reader.read("EE_REDO_TRANSFERS", integer(1..=REDO_MAX));
    let backup_dir = reader.read("EE_BACKUP_DIR", present);
    let backup_keep = reader.read("EE_BACKUP_KEEP_DAYS", integer(1..=BACKUP_KEEP_DAYS_MAX));
    let period = reader.read("EE_PERIOD_SEC", period);
    let lock_lead = period.and_then(|period| lock_lead(reader, period));
    let mut wait = |name: &str| reader.read(name, seconds(0..=WAIT_MAX_SECS));
    let settlement_grace = wait("EE_SETTLEMENT_GRACE_SEC");
    let settlement_deadline = wait("EE_SETTLEMENT_DEADLINE_SEC");
    let abuse_decision = wait("EE_ABUSE_DECISION_SEC");
    let payout_hold = wait("EE_PAYOUT_HOLD_SEC");
    let unbonding = wait("EE_UNBONDING_SEC");
    let slash_delay = wait("EE_SLASH_DELAY_SEC");
    let stake_min = stake_min(reader);
    let (grace, deadline) = (settlement_grace?, settlement_deadline?);
    if deadline <= grace {
        let message = "must be more than EE_SETTLEMENT_GRACE_SEC";
        reader.refuse("EE_SETTLEMENT_DEADLINE_SEC", message);
    }
    let abuse_decision = abuse_decision_within(reader, abuse_decision?, deadline);
    Some(LedgerSettings {
        database_url,
        redo: redo?,
        backup_dir: backup_dir.map(Into::into),
        backup_keep: Duration::from_secs(backup_keep? * DAY_SECS),
        period: period?,
        lock_lead: lock_lead?,
        settlement_grace: grace,
        settlement_deadline: deadline,
        abuse_decision,
        payout_hold: payout_hold?,
        unbonding: unbonding?,
        slash_delay: slash_delay?,
        stake_min: stake_min?,
    })
}

/// One that is set too long is a mistake; the default gives way to a shorter deadline.
fn abuse_decision_within(reader: &mut Reader, asked: Duration, deadline: Duration) -> Duration {
    let name = "EE_ABUSE_DECISION_SEC";
    if asked > deadline && reader.origin(name) != Origin::Default {
        reader.refuse(name, "must be at most EE_SETTLEMENT_DEADLINE_SEC");
    }
    asked.min(deadline)
}

fn period(text: &str) -> Result<Duration, String> {
    let seconds = integer(PERIOD_MIN_SECS..=DAY_SECS)(text)?;
    if !DAY_SECS.is_multiple_of(seconds) {
        return Err(format!("{seconds} does not divide {DAY_SECS}, a day"));
    }
    Ok(Duration::from_secs(seconds))
}

fn lock_lead(reader: &mut Reader, period: Duration) -> Option<Duration> {
    let name = "EE_LOCK_LEAD_SEC";
    let lead = reader.read(name, seconds(0..=DAY_SECS))?;
    let most = period / 2;
    if lead > most && reader.origin(name) != Origin::Default {
        let message = format!(
            "must be at most {} s, half of EE_PERIOD_SEC",
            most.as_secs()
        );
        reader.refuse(name, &message);
    }
    Some(lead.min(most))
}

fn database_url(reader: &mut Reader) -> Option<Secret> {
    let name = "EE_DATABASE_URL";
    let url = reader.secret(name)?;
    let known = ["postgres://", "postgresql://"];
    if !known.iter().any(|scheme| url.expose().starts_with(scheme)) {
        reader.refuse(name, "must begin with postgres://");
    }
    if reader.origin("EE_DB_PATH") != Origin::Default {
        let message = "set beside EE_DATABASE_URL: the ledger has one home; keep one of them";
        reader.refuse("EE_DB_PATH", message);
    }
    Some(url)
}

fn stake_min(reader: &mut Reader) -> Option<[MicroUsd; 3]> {
    match reader.read("EE_STAKE_MIN_USD", stake_amounts) {
        Some(amounts) => Some(amounts),
        None if reader.origin("EE_STAKE_MIN_USD") == Origin::Unset => Some([STAKE_MIN; 3]),
        None => None,
    }
}

fn stake_amounts(text: &str) -> Result<[MicroUsd; 3], String> {
    let amount = |text: &str| MicroUsd::parse_text(text).map_err(|error| error.to_string());
    if !text.contains('=') {
        return amount(text).map(|amount| [amount; 3]);
    }
    let parts = comma_list(|part| {
        let (tier, usd) = part.split_once('=').ok_or("a tier without amount")?;
        let place = TIERS.iter().position(|known| *known == tier);
        let place = place.ok_or_else(|| format!("'{tier}' is not one of {}", TIERS.join(", ")))?;
        Ok((place, amount(usd)?))
    })(text)?;
    let mut amounts = [None; 3];
    for (place, amount) in parts {
        if amounts[place].replace(amount).is_some() {
            return Err(format!("{} is set twice", TIERS[place]));
        }
    }
    Ok(amounts.map(|amount| amount.unwrap_or(STAKE_MIN)))
}

impl Settings {
    /// What the books decide by.
    pub fn books_policy(&self) -> Policy {
        let ledger = &self.ledger;
        Policy {
            rules: RULES,
            period_s: whole_seconds(ledger.period),
            lock_lead_s: whole_seconds(ledger.lock_lead),
            settlement_grace_s: whole_seconds(ledger.settlement_grace),
            settlement_deadline_s: whole_seconds(ledger.settlement_deadline),
            payout_hold_s: whole_seconds(ledger.payout_hold),
            abuse_decision_s: whole_seconds(ledger.abuse_decision),
            unbonding_s: whole_seconds(ledger.unbonding),
            slash_delay_s: whole_seconds(ledger.slash_delay),
            health_timeout_s: whole_seconds(self.health_timeout),
            attestation_timeout_s: whole_seconds(self.attest_interval + self.attest_deadline),
            attest_deadline_s: whole_seconds(self.attest_deadline),
            stake_min: ledger.stake_min,
        }
    }
}

fn whole_seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).expect("every range ends at a year")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ee_protocol::settings::{SecretRule, Sources};

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let sources = Sources::from_pairs(pairs.iter().copied());
        Settings::from_sources(&sources, SecretRule::Strong)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_defaults_are_the_documented_policy() {
        let settings = settings(&[]).expect("valid");
        assert_eq!(settings.books_policy(), Policy::documented());
    }

    #[test]
    fn short_periods_bring_a_short_lead_unless_one_is_set() {
        let short = settings(&[("EE_PERIOD_SEC", "30")]).expect("valid");
        assert_eq!(short.books_policy().lock_lead_s, 15);
        let set = settings(&[("EE_PERIOD_SEC", "30"), ("EE_LOCK_LEAD_SEC", "16")]);
        assert_eq!(
            set.expect_err("refused"),
            ["EE_LOCK_LEAD_SEC (env): must be at most 15 s, half of EE_PERIOD_SEC"]
        );
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_at_once() {
        let problems = settings(&[
            ("EE_PERIOD_SEC", "7000"),
            ("EE_SETTLEMENT_GRACE_SEC", "60"),
            ("EE_SETTLEMENT_DEADLINE_SEC", "60"),
            ("EE_ABUSE_DECISION_SEC", "61"),
            ("EE_STAKE_MIN_USD", "premium=1,gold=2"),
            ("EE_DB_PATH", "x.db"),
            ("EE_DATABASE_URL", "mysql://root@localhost/ledger"),
        ]);
        let text = problems.expect_err("refused").join("\n");
        for said in [
            "EE_PERIOD_SEC (env): 7000 does not divide 86400",
            "EE_SETTLEMENT_DEADLINE_SEC (env): must be more than EE_SETTLEMENT_GRACE_SEC",
            "EE_ABUSE_DECISION_SEC (env): must be at most EE_SETTLEMENT_DEADLINE_SEC",
            "EE_STAKE_MIN_USD (env): 'gold' is not one of premium, standard, economy",
            "EE_DATABASE_URL (env): must begin with postgres://",
            "EE_DB_PATH (env): set beside EE_DATABASE_URL",
        ] {
            assert!(text.contains(said), "{said} in:\n{text}");
        }
        for bad in ["9", "86401", "0", "1h"] {
            assert!(settings(&[("EE_PERIOD_SEC", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn least_stakes_are_one_for_all_or_one_a_tier() {
        let micros = |text: &str| {
            let settings = settings(&[("EE_STAKE_MIN_USD", text)]).expect(text);
            settings.ledger.stake_min.map(MicroUsd::micros)
        };
        assert_eq!(micros("12.5"), [12_500_000; 3]);
        assert_eq!(
            micros("premium=1000,economy=0"),
            [1_000_000_000, STAKE_MIN.micros(), 0]
        );
        for bad in ["-1", "1e3", "premium", "premium=1,premium=2", "premium=x"] {
            assert!(settings(&[("EE_STAKE_MIN_USD", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_database_url_is_a_secret_of_any_length() {
        let url = "postgres://ee@h/l";
        let settings = settings(&[("EE_DATABASE_URL", url)]).expect("valid");
        let found = settings.ledger.database_url.as_ref().expect("set");
        assert_eq!(found.expose(), url);
        assert!(!format!("{settings:?}").contains(url));
        assert!(
            settings.db_path.ends_with("registry.db"),
            "the registry has its own file"
        );
    }
}
