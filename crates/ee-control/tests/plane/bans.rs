//! A ban holds on to the machine: its quote names it, whatever its agent calls itself.

use ee_control::proxy::RouteRefusal;
use ee_core::{
    books::{
        Command, Outcome,
        command::{DecideSlash, FileSlash},
        rows::{Decision, SlashReason},
    },
    eligibility::{GateCode, StakeRequirement},
    session::{ChallengeAnswer, SessionRefusal},
};
use ee_protocol::{account::Note, names::NodeId};

use crate::{
    books::{Both, node, with_both},
    rig::{agent, register},
};

#[tokio::test]
async fn a_banned_machine_is_banned_under_another_name() {
    with_both(StakeRequirement::None, async |mut both: Both| {
        both.world.join(&register()).await;
        both.beat(Vec::new()).await;
        let note = |text| Note::parse(text).expect("short");
        let filed = both
            .run(Command::FileSlash(FileSlash {
                id: None,
                node: node(),
                reason: SlashReason::AttestationFraud,
                evidence: note("two quotes of one machine"),
            }))
            .await;
        let Ok(Outcome::Filed(filed)) = filed else {
            panic!("{filed:?}");
        };
        both.run(Command::DecideSlash(DecideSlash {
            slash: filed.id,
            decision: Decision::Authorize,
            authorized_by: note("the owner"),
        }))
        .await
        .expect("banned");
        both.pass(5).await;
        let refused = RouteRefusal::NotEligible {
            codes: vec![GateCode::Banned],
        };
        assert_eq!(both.world.choose(), Err(refused.clone()), "no request");
        let again = both.world.attested(&register());
        let answer = both.world.plane.ask_challenge(&again.registration).await;
        assert_eq!(answer, ChallengeAnswer::Refused(SessionRefusal::Banned));

        both.world.join(&agent("another-name")).await;
        both.pass(5).await;
        assert_eq!(both.world.choose(), Err(refused));
        let banned = both.ask(|books| {
            let other = NodeId::parse("another-name").expect("an id");
            let number = books.node_no(&other).expect("seen");
            books.is_banned(number)
        });
        assert!(banned.await, "the same machine");
    })
    .await;
}
