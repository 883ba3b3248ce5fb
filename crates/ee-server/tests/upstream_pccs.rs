//! The collateral client against a mock PCS on loopback.

use ee_control::ports::{CollateralError, CollateralKey, CollateralSource, PckCa};
use ee_server::upstream::{PccsSource, client};
use ee_testbed::{DEFAULT_SEED, MockPcs, PcsMode, SimOptions, SimPlatform};

const NOW_S: u64 = 1_800_000_000;

async fn mock() -> (MockPcs, SimPlatform, PccsSource) {
    let platform = SimPlatform::new(DEFAULT_SEED, SimOptions::default());
    let pcs = MockPcs::start(platform.clone(), || NOW_S)
        .await
        .expect("loopback");
    let source = PccsSource::new(client().expect("client"), &[pcs.url()]);
    (pcs, platform, source)
}

#[tokio::test]
async fn every_item_is_found_with_its_chain() {
    let (pcs, platform, source) = mock().await;
    let keys = [
        CollateralKey::TcbInfo {
            fmspc: platform.fmspc(),
        },
        CollateralKey::QeIdentity,
        CollateralKey::PckCrl {
            ca: PckCa::Platform,
        },
        CollateralKey::RootCrl,
    ];
    for key in keys {
        let item = source.fetch(0, &key).await.expect("found");
        assert!(!item.body.is_empty(), "{key}");
        let chain = item.issuer_chain_pem.unwrap_or_default();
        let wants_chain = key != CollateralKey::RootCrl;
        assert_eq!(
            chain.contains("-----BEGIN CERTIFICATE-----"),
            wants_chain,
            "{key}"
        );
    }
    assert_eq!(pcs.requests().len(), 4);
}

#[tokio::test]
async fn an_unknown_platform_is_no_outage() {
    let (_pcs, _, source) = mock().await;
    let key = CollateralKey::TcbInfo { fmspc: [0xee; 6] };
    assert_eq!(source.fetch(0, &key).await, Err(CollateralError::NotFound));
}

#[tokio::test]
async fn a_broken_endpoint_is_an_outage() {
    let (pcs, _, source) = mock().await;
    pcs.set_mode(PcsMode::Outage);
    let answer = source.fetch(0, &CollateralKey::QeIdentity).await;
    assert!(
        matches!(answer, Err(CollateralError::Outage { .. })),
        "{answer:?}"
    );
    let nobody = PccsSource::new(
        client().expect("client"),
        &["http://127.0.0.1:1".to_owned()],
    );
    let answer = nobody.fetch(0, &CollateralKey::QeIdentity).await;
    assert!(
        matches!(answer, Err(CollateralError::Outage { .. })),
        "{answer:?}"
    );
    let answer = nobody.fetch(7, &CollateralKey::QeIdentity).await;
    assert!(
        matches!(answer, Err(CollateralError::Outage { .. })),
        "{answer:?}"
    );
}
