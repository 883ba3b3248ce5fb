//! Lists: pages, cursors, and the three ways in which entries are written.

use serde_json::{Value, json};

use super::{super::running::ADMIN, World};

#[tokio::test]
async fn entries_come_page_by_page_newest_first() {
    let world = World::start().await;
    for cents in 1..=7 {
        world.purchase("alice", &format!("0.0{cents}")).await;
    }
    let mut path = "/v1/accounts/alice/entries?limit=3".to_owned();
    let mut amounts: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let read = world.get(ADMIN, &path).await;
        assert_eq!(read.status, 200, "{}", read.text);
        let entries = read.body["entries"].as_array().expect("a list").iter();
        amounts.extend(entries.map(|e| e["amount_micro_usd"].as_str().expect("text").to_owned()));
        pages += 1;
        let Some(cursor) = read.body["next_cursor"].as_str() else {
            assert_eq!(read.header("link"), None);
            break;
        };
        let link = read.header("link").expect("beside the cursor");
        assert!(
            link.contains(cursor) && link.ends_with("rel=\"next\""),
            "{link}"
        );
        path = format!("/v1/accounts/alice/entries?limit=3&cursor={cursor}");
        // What comes meanwhile shifts nothing.
        world.purchase("alice", "9").await;
    }
    let newest_first = [
        "70000", "60000", "50000", "40000", "30000", "20000", "10000",
    ];
    assert_eq!(amounts, newest_first);
    assert_eq!(pages, 3);
    world.stop().await;
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let world = World::start().await;
    for account in ["alice", "bob"] {
        world.purchase(account, "1").await;
        world.purchase(account, "2").await;
    }
    let read = world.get(ADMIN, "/v1/accounts/alice/entries?limit=1").await;
    let cursor = read.body["next_cursor"]
        .as_str()
        .expect("a cursor")
        .to_owned();
    for path in [
        format!("/v1/accounts/bob/entries?cursor={cursor}"),
        format!("/v1/accounts?cursor={cursor}"),
        format!("/v1/accounts/alice/entries?cursor={cursor}A"),
        "/v1/accounts/alice/entries?cursor=MTcuMA".to_owned(),
    ] {
        let refused = world.get(ADMIN, &path).await;
        assert_eq!(refused.refusal(), (400, "invalid_field"), "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn entries_are_written_as_json_csv_and_json_lines() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    let evil = "=HYPERLINK(\"http://x\")";
    let body = json!({"id": evil, "from_account": "alice", "to_account": "bob", "amount_usd": 4,
                      "open_account": true});
    assert_eq!(world.post(ADMIN, "/v1/transfers", &body).await.status, 200);
    let json = world.get(ADMIN, "/v1/accounts/bob/entries").await;
    let entry = &json.body["entries"][0];
    assert_eq!(
        (&entry["kind"], &entry["counterparty"]),
        (&json!("transfer"), &json!("alice"))
    );
    let csv = world
        .get(ADMIN, "/v1/accounts/bob/entries?format=csv")
        .await;
    assert!(
        csv.header("content-type")
            .expect("a type")
            .starts_with("text/csv")
    );
    let lines: Vec<&str> = csv.text.lines().collect();
    assert!(
        lines[0].starts_with("seq,at,kind,transfer_id,amount_micro_usd"),
        "{}",
        csv.text
    );
    assert!(
        lines[1].contains(",4000000,posted,\"bob\",\"alice\",\"'=HYPERLINK("),
        "{}",
        csv.text
    );
    let lines = world
        .get(ADMIN, "/v1/accounts/alice/entries?format=jsonl&limit=1")
        .await;
    assert_eq!(lines.text.lines().count(), 1);
    let entry: Value = serde_json::from_str(lines.text.trim()).expect("JSON");
    assert_eq!(entry["amount_micro_usd"], "-4000000");
    assert!(
        lines
            .header("link")
            .expect("a next page")
            .contains("cursor=")
    );
    world.stop().await;
}

#[tokio::test]
async fn entries_add_up_to_the_balance() {
    let world = World::start().await;
    world.purchase("alice", "10").await;
    world.node("n1", "0.04").await;
    let deposit = json!({"id": "d", "action": "deposit", "amount_usd": 3, "account_id": "alice"});
    assert_eq!(
        world
            .post(ADMIN, "/v1/nodes/n1/stake", &deposit)
            .await
            .status,
        200
    );
    let body = json!({"from_account": "alice", "to_account": "n1", "amount_usd": 2});
    assert_eq!(
        world
            .post(ADMIN, "/v1/credits/transfer", &body)
            .await
            .status,
        200
    );
    for account in ["alice", "n1"] {
        let read = world
            .get(ADMIN, &format!("/v1/accounts/{account}/entries"))
            .await;
        let entries = read.body["entries"].as_array().expect("a list").iter();
        let own = entries.filter(|e| e["account"] == account && e["effect"] == "posted");
        let sum: i64 = own
            .map(|e| {
                e["amount_micro_usd"]
                    .as_str()
                    .expect("text")
                    .parse::<i64>()
                    .expect("number")
            })
            .sum();
        assert_eq!(sum, world.holdings(account).await.1, "{account}");
    }
    world.stop().await;
}

#[tokio::test]
async fn accounts_and_nodes_are_listed_in_pages() {
    let world = World::start().await;
    for n in 0..5 {
        world.purchase(&format!("user-{n}"), "1").await;
        world.node(&format!("node-{n}"), "0.04").await;
    }
    for (path, list, id) in [
        ("/v1/accounts", "accounts", "account_id"),
        ("/v1/nodes", "nodes", "node_id"),
        ("/v1/prices", "prices", "node_id"),
    ] {
        let mut ids: Vec<String> = Vec::new();
        let mut next = format!("{path}?limit=2");
        loop {
            let read = world.get(ADMIN, &next).await;
            let rows = read.body[list].as_array().expect("a list").iter();
            ids.extend(rows.map(|row| row[id].as_str().expect("an id").to_owned()));
            match read.body["next_cursor"].as_str() {
                Some(cursor) => next = format!("{path}?limit=2&cursor={cursor}"),
                None => break,
            }
        }
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "{path} shows each once");
        assert!(
            all >= 5
                && !ids
                    .iter()
                    .any(|id| id.contains('#') || id.starts_with("sys:")),
            "{ids:?}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn whoever_names_a_place_in_the_journal_reads_nothing_older() {
    let world = World::start().await;
    let bought = world.purchase("alice", "10").await;
    let seq: u64 = bought
        .header("ledger-seq")
        .expect("given")
        .parse()
        .expect("a number");
    let read = |asked: String| {
        let path = "/v1/balances/alice";
        let request = world.running.request(reqwest::Method::GET, path);
        let request = request.bearer_auth(ADMIN).header("ledger-min-seq", asked);
        async move { super::super::running::answer(request.send().await.expect("answered")).await }
    };
    let (status, body) = read(seq.to_string()).await;
    assert_eq!((status, &body["balance_cents"]), (200, &json!(1_000)));
    let (status, body) = read((seq + 1_000_000).to_string()).await;
    assert_eq!((status, &body["code"]), (503, &json!("store_unavailable")));
    for bad in ["-1", "soon", ""] {
        let (status, body) = read(bad.to_owned()).await;
        assert_eq!(
            (status, &body["code"]),
            (400, &json!("invalid_field")),
            "{bad}"
        );
    }
    world.stop().await;
}
