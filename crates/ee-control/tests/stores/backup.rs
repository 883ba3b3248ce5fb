//! A backup made while the books are open is whole, and what is not ours to replace stays.

use std::fs;

use ee_store::{
    BackupError, Store,
    audit::{Check, verify},
    back_up,
    ledger::{Ledger, LedgerStore, SqliteLedger},
    restore,
};
use tempfile::TempDir;

use super::{LEDGER, tell};

#[tokio::test]
async fn a_backup_of_open_books_restores_to_the_same_books() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let store = Store::open(&path("a.db")).unwrap();
    let ledger = SqliteLedger::open(store.clone(), LEDGER).await.unwrap();
    let told = tell(Ledger::Sqlite(ledger), 2, 100).await;

    let copied = back_up(&path("a.db"), &path("backup")).unwrap();
    assert!(!path("backup").exists(), "no name before it is verified");
    copied.keep().unwrap();
    let taken = back_up(&path("a.db"), &path("backup"));
    assert!(matches!(taken, Err(BackupError::Exists(_))));
    let over = restore(&path("backup"), &path("a.db"));
    assert!(over.is_err(), "a server holds it");

    restore(&path("backup"), &path("b.db"))
        .unwrap()
        .keep()
        .unwrap();
    let restored = SqliteLedger::read_only(Store::open_read_only(&path("b.db")).unwrap());
    assert_eq!(restored.head().await.unwrap(), told.head);
    let report = verify(&restored, &Check::ALL).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    store.close().await;
    let left = fs::read_dir(dir.path()).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.ends_with(".part")));
}
