//! Allowlists of versions 1.0 and 1.1 from JSON.

use std::collections::{BTreeMap, BTreeSet};

use ee_core::attestation::{AttestationCode as Code, Failure, TcbStatus};
use ee_protocol::{
    refusal::Refusal,
    report_data::{Digest, sha256},
    time::Timestamp,
};
use serde_json::{Map, Value};

use super::{
    ALLOWLIST_BYTES_MAX, Allowlist, ENTRIES_MAX, EVENTS_MAX, Entry, TcbPolicy, VALUES_MAX,
};
use crate::{
    event_log::{ExpectedEvent, is_event_name},
    registers::RegisterName,
};

/// Claims in the order in which they are compared.
const CLAIMS: [&str; 4] = [
    "agent_dir_sha256",
    "agent_py_sha256",
    "vm_image_id",
    "sealed",
];

/// What is wrong, for the refusal.
type Wrong = String;
type Object = Map<String, Value>;

/// The two versions differ in what `measurements` may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// Claims under any name.
    V1_0,
    /// The four claims and the registers, nothing else.
    V1_1,
}

/// Parses an allowlist and refuses one that matches nothing.
pub(super) fn allowlist(content: &[u8]) -> Result<Allowlist, Failure> {
    if content.len() > ALLOWLIST_BYTES_MAX {
        return Err(invalid(&format!("{} bytes", content.len())));
    }
    let value: Value =
        serde_json::from_slice(content).map_err(|error| invalid(&error.to_string()))?;
    let Value::Object(top) = &value else {
        return Err(invalid("no JSON object"));
    };
    let parsed = read(top, sha256(content)).map_err(|wrong| invalid(&wrong))?;
    if parsed.entries.iter().all(Entry::is_empty) {
        let code = Code::AllowlistMissingMeasurements;
        let hint = "Publish an allowlist with measurements: `easyenclave allowlist create`.";
        return Err(Failure::new(code).explained(
            Refusal::new(code.as_str(), "allowlist", hint)
                .compared("measurements with at least one value", "none"),
        ));
    }
    Ok(parsed)
}

fn invalid(wrong: &str) -> Failure {
    let code = Code::AllowlistInvalid;
    let hint = "Correct the release's asset: `easyenclave allowlist verify` names every defect.";
    Failure::new(code).explained(
        Refusal::new(code.as_str(), "allowlist", hint)
            .compared("an allowlist of version 1.0 or 1.1", wrong),
    )
}

fn read(top: &Object, digest: Digest) -> Result<Allowlist, Wrong> {
    let version = match top.get("version").and_then(Value::as_str) {
        Some("1.0") => Version::V1_0,
        Some("1.1") => Version::V1_1,
        Some(other) => return Err(format!("version {other}")),
        None => return Err("no version".to_owned()),
    };
    let release_tag = text(top, "release_tag")?
        .ok_or("no release_tag")?
        .to_owned();
    let mut entries = vec![entry(top, version, String::new())?];
    if version == Version::V1_0 {
        return Ok(Allowlist {
            release_tag,
            digest,
            entries,
            rtmr3_events: None,
            tcb_policy: TcbPolicy::default(),
            revoked: flag(top, "revoked")?.unwrap_or(false),
        });
    }
    for (index, more) in list(top, "entries", ENTRIES_MAX)?.iter().enumerate() {
        let Value::Object(more) = more else {
            return Err(format!("entry {index}: no object"));
        };
        let id = text(more, "id")?
            .filter(|id| !id.is_empty())
            .unwrap_or_default();
        let id = if id.is_empty() {
            index.to_string()
        } else {
            id.to_owned()
        };
        entries.push(entry(more, version, id).map_err(|wrong| format!("entry {index}: {wrong}"))?);
    }
    Ok(Allowlist {
        release_tag,
        digest,
        entries,
        rtmr3_events: events(top)?,
        tcb_policy: tcb_policy(top)?,
        revoked: flag(top, "revoked")?.unwrap_or(false),
    })
}

fn entry(object: &Object, version: Version, id: String) -> Result<Entry, Wrong> {
    let empty = Object::new();
    let measurements = match object.get("measurements") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(measurements)) => measurements,
        Some(_) => return Err("measurements is no object".to_owned()),
    };
    let own = flag(object, "sealed")?;
    let measured = flag(measurements, "sealed")?;
    if own.is_some() && measured.is_some() && own != measured {
        return Err("sealed is given twice, differently".to_owned());
    }
    let mut claims = match version {
        Version::V1_0 => claims_1_0(measurements),
        Version::V1_1 => claims_1_1(measurements)?,
    };
    if let (Some(sealed), None) = (own, measured) {
        claims.push(("sealed".to_owned(), Value::Bool(sealed)));
    }
    let pins = match version {
        Version::V1_0 => BTreeMap::new(),
        Version::V1_1 => pins(measurements)?,
    };
    if claims.iter().all(|(name, _)| name == "sealed") && pins.is_empty() {
        claims.clear();
    }
    Ok(Entry {
        id,
        sealed: own.or(measured).unwrap_or(false),
        not_after: date(object, "not_after")?,
        pins,
        claims,
        workload: workload(object)?,
    })
}

/// Every key is compared with the claim of its name.
fn claims_1_0(measurements: &Object) -> Vec<(String, Value)> {
    let known = CLAIMS
        .iter()
        .filter_map(|name| measurements.get_key_value(*name));
    let others = measurements
        .iter()
        .filter(|(name, _)| !CLAIMS.contains(&name.as_str()));
    let mut others: Vec<_> = others.collect();
    others.sort_by_key(|(name, _)| *name);
    known
        .chain(others)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Unknown keys are refused: a typing error must not unpin a register.
fn claims_1_1(measurements: &Object) -> Result<Vec<(String, Value)>, Wrong> {
    let is_register = |name: &str| RegisterName::ALL.iter().any(|it| it.as_str() == name);
    let known = |name: &str| CLAIMS.contains(&name) || is_register(name);
    if let Some(unknown) = measurements.keys().find(|name| !known(name)) {
        return Err(format!("measurements has an unknown key `{unknown}`"));
    }
    let mut claims = Vec::new();
    for name in CLAIMS {
        let value = measurements.get(name).filter(|value| !value.is_null());
        let Some(value) = value else { continue };
        if !(value.is_string() || name == "sealed") {
            return Err(format!("{name} is no text"));
        }
        claims.push((name.to_owned(), value.clone()));
    }
    Ok(claims)
}

fn pins(measurements: &Object) -> Result<BTreeMap<RegisterName, Vec<Vec<u8>>>, Wrong> {
    let mut pins = BTreeMap::new();
    for register in RegisterName::ALL {
        let values: Vec<&Value> = match measurements.get(register.as_str()) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(values)) => values.iter().collect(),
            Some(value) => vec![value],
        };
        if values.is_empty() || values.len() > VALUES_MAX {
            return Err(format!("{}: {} values", register.as_str(), values.len()));
        }
        let values = values
            .into_iter()
            .map(|value| register_value(register, value));
        pins.insert(register, values.collect::<Result<_, _>>()?);
    }
    Ok(pins)
}

fn register_value(register: RegisterName, value: &Value) -> Result<Vec<u8>, Wrong> {
    let bytes = value.as_str().and_then(|text| hex::decode(text).ok());
    bytes
        .filter(|bytes| bytes.len() == register.value_bytes())
        .ok_or_else(|| {
            format!(
                "{} is not {} hexadecimal digits",
                register.as_str(),
                2 * register.value_bytes()
            )
        })
}

/// The workload digest: the first 32 bytes of `report_data`.
fn workload(object: &Object) -> Result<Option<Digest>, Wrong> {
    let Some(text) = text(object, "report_data")?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let mut bytes = [0; 64];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| "report_data is not 128 hexadecimal digits".to_owned())?;
    let mut workload = [0; 32];
    workload.copy_from_slice(&bytes[..32]);
    Ok(Some(workload))
}

fn events(top: &Object) -> Result<Option<Vec<ExpectedEvent>>, Wrong> {
    if top.get("rtmr3_events").is_none_or(Value::is_null) {
        return Ok(None);
    }
    let event = |value: &Value| {
        let name = value
            .get("name")
            .and_then(Value::as_str)
            .filter(|name| is_event_name(name));
        let mut payload_sha256 = [0; 32];
        let payload = value.get("payload_sha256").and_then(Value::as_str);
        let payload = payload.and_then(|it| hex::decode_to_slice(it, &mut payload_sha256).ok());
        match (name, payload) {
            (Some(name), Some(())) => Ok(ExpectedEvent {
                name: name.to_owned(),
                payload_sha256,
            }),
            _ => Err("rtmr3_events needs name and payload_sha256".to_owned()),
        }
    };
    list(top, "rtmr3_events", EVENTS_MAX)?
        .iter()
        .map(event)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn tcb_policy(top: &Object) -> Result<TcbPolicy, Wrong> {
    let policy = match top.get("tcb_policy") {
        None | Some(Value::Null) => return Ok(TcbPolicy::default()),
        Some(Value::Object(policy)) => policy,
        Some(_) => return Err("tcb_policy is no object".to_owned()),
    };
    let statuses = match policy.get("statuses") {
        None | Some(Value::Null) => None,
        Some(_) => Some(
            texts(policy, "statuses")?
                .into_iter()
                .map(status)
                .collect::<Result<BTreeSet<_>, _>>()?,
        ),
    };
    Ok(TcbPolicy {
        statuses,
        min_tcb_date: date(policy, "min_tcb_date")?,
        reject_advisories: texts(policy, "reject_advisories")?
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}

fn status(text: &str) -> Result<TcbStatus, Wrong> {
    TcbStatus::parse(text).ok_or_else(|| format!("unknown TCB status {text}"))
}

fn texts<'a>(object: &'a Object, name: &str) -> Result<Vec<&'a str>, Wrong> {
    let text = |value: &'a Value| {
        value
            .as_str()
            .ok_or_else(|| format!("{name} holds no texts"))
    };
    list(object, name, ALLOWLIST_BYTES_MAX)?
        .iter()
        .map(text)
        .collect()
}

fn list<'a>(object: &'a Object, name: &str, max: usize) -> Result<&'a [Value], Wrong> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(values)) if values.len() <= max => Ok(values),
        Some(Value::Array(values)) => Err(format!("{name}: {} of at most {max}", values.len())),
        Some(_) => Err(format!("{name} is no list")),
    }
}

fn text<'a>(object: &'a Object, name: &str) -> Result<Option<&'a str>, Wrong> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} is no text")),
    }
}

fn flag(object: &Object, name: &str) -> Result<Option<bool>, Wrong> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(format!("{name} is neither true nor false")),
    }
}

fn date(object: &Object, name: &str) -> Result<Option<Timestamp>, Wrong> {
    let parse = |text: &str| {
        Timestamp::parse_rfc3339(text).ok_or_else(|| format!("{name} is no RFC 3339 time"))
    };
    text(object, name)?.map(parse).transpose()
}
