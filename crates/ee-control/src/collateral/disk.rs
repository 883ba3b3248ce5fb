//! Items on disk, one file each: raw answer and issuer chain, written whole or not at all.
//!
//! Nothing read back is believed: it passes the same verification as an answer of an endpoint.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ee_attest::collateral::{CollateralItem, ItemKind};
use serde::{Deserialize, Serialize};

use super::{
    Inner,
    arrival::{self, Keep},
    slot,
};
use crate::ports::{FetchedItem, Turn, on_pool};

/// A file: base64 of an item's 1 MiB and its chain; what is larger is not ours.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct KeptItem {
    body_base64: String,
    issuer_chain_pem: Option<String>,
}

/// Verifies and takes in what lies in the directory; what does not hold is left out.
pub(super) async fn restore(inner: &Inner) {
    let Some(directory) = inner.parts.directory.clone() else {
        return;
    };
    let read = on_pool(inner.parts.offload.as_ref(), Turn::Serving, move || {
        read_all(&directory)
    });
    let mut items = read.await.unwrap_or_default();
    // The root's list first: it is needed to verify the signers of the others.
    items.sort_by_key(|(kind, _)| *kind != ItemKind::RootCrl);
    for (kind, fetched) in items {
        inner.state().slots.entry(kind).or_default();
        if let Err(error) = arrival::accept(inner, kind, fetched, Keep::InMemory).await {
            tracing::info!(item = %kind, error = slot::text(&error), "kept collateral left out");
        }
    }
}

/// Writes an item; a failure is logged and costs only the next offline boot.
pub(super) async fn write(inner: &Inner, item: Arc<CollateralItem>) {
    let Some(directory) = inner.parts.directory.clone() else {
        return;
    };
    let written = on_pool(inner.parts.offload.as_ref(), Turn::Serving, move || {
        write_item(&directory, &item)
    });
    if let Some(Err(error)) = written.await {
        tracing::warn!(%error, "collateral not kept on disk");
    }
}

fn read_all(directory: &Path) -> Vec<(ItemKind, FetchedItem)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let item = |entry: io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
        Some((slot::kind_named(name)?, read_item(&path)?))
    };
    entries.filter_map(item).collect()
}

fn read_item(path: &Path) -> Option<FetchedItem> {
    if path.metadata().ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let kept: KeptItem = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(FetchedItem {
        body: STANDARD.decode(kept.body_base64).ok()?.into(),
        issuer_chain_pem: kept.issuer_chain_pem,
        date: None,
    })
}

fn write_item(directory: &Path, item: &CollateralItem) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let kept = KeptItem {
        body_base64: STANDARD.encode(item.body()),
        issuer_chain_pem: item.issuer_chain_pem().map(str::to_owned),
    };
    let path = directory.join(format!("{}.json", item.kind()));
    let temporary = PathBuf::from(format!("{}.new", path.display()));
    let file = fs::File::create(&temporary)?;
    serde_json::to_writer(&file, &kept)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)
}
