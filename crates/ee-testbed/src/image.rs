//! The demo image: what the agents of `easyenclave dev` run, its registers and its allowlist.

use ee_protocol::report_data::WorkloadClaims;
use ring::digest;
use serde_json::{Value, json};

use crate::{
    event_log::{Event, replay, sha384},
    td::{Register, Td},
};

const CREATED_AT: &str = "2026-01-02T03:04:05Z";
/// VM shapes that the release was measured on: RTMR0 covers ACPI tables, which name the shape.
const VM_SHAPES: [&str; 2] = ["vm shape 8 vCPU", "vm shape 16 vCPU"];
const COMPOSE: &[u8] = b"services: {hello: {image: easyenclave/hello}}\n";

/// An image of a release, as it runs on one VM shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoImage {
    seed: u64,
    tag: String,
    command_line: &'static str,
    vm_shape: &'static str,
}

impl DemoImage {
    /// The repository that releases the image.
    pub const REPO: &str = "easyenclave/hello";
    /// The release that `dev` serves.
    pub const TAG: &str = "v0.1.0";

    /// The released image.
    pub fn new(seed: u64) -> Self {
        let command_line = "root=/dev/dm-0 ro ee.verity ee.sealed=1";
        let [vm_shape, _] = VM_SHAPES;
        Self {
            seed,
            tag: Self::TAG.to_owned(),
            command_line,
            vm_shape,
        }
    }

    /// The image of another release: every register differs.
    #[must_use]
    pub fn with_tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// The same image on the other VM shape that the allowlist names.
    #[must_use]
    pub fn on_other_shape(mut self) -> Self {
        [_, self.vm_shape] = VM_SHAPES;
        self
    }

    /// Somebody's rebuild that claims to be the release: the kernel command line, hence RTMR2,
    /// differs; claims and the rest do not.
    #[must_use]
    pub fn rogue(mut self) -> Self {
        self.command_line = "root=/dev/vda1 rw init=/bin/sh";
        self
    }

    /// The release's tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// What an agent of this image says that it runs.
    pub fn claims(&self) -> WorkloadClaims {
        WorkloadClaims {
            agent_dir_sha256: self.sha256_hex("agent directory"),
            agent_py_sha256: self.sha256_hex("agent executable"),
            vm_image_id: format!("tag={}\nsha256={}", self.tag, self.sha256_hex("vm image")),
            sealed: true,
        }
    }

    /// The TD that runs the image.
    pub fn td(&self) -> Td {
        let rtmr = replay(&self.events());
        Td {
            mrtd: self.register("firmware"),
            rtmr,
            ..Td::default()
        }
    }

    /// What was extended into the registers.
    pub fn events(&self) -> Vec<Event> {
        vec![
            Event::firmware(0, self.register(self.vm_shape), "ACPI DATA"),
            Event::firmware(1, self.register("kernel"), "kernel"),
            Event::firmware(2, self.register(self.command_line), "kernel command line"),
            Event::firmware(2, self.register("initrd"), "initrd"),
            Event::runtime("ee-agent", self.claims().agent_py_sha256.as_bytes()),
            Event::runtime("ee-compose", COMPOSE),
            Event::runtime("ee-seal", b"sealed"),
        ]
    }

    /// The event log as `attest_response` carries it.
    pub fn event_log(&self) -> Value {
        self.events().iter().map(Event::to_json).collect()
    }

    /// The release's allowlist, version 1.1: every register is pinned by value, so that the entry
    /// can be decided `sealed` without an event log.
    pub fn allowlist(&self) -> Value {
        let td = self.td();
        let mut measurements = self.claims_json();
        for (name, value) in [
            ("mrtd", hex::encode(td.mrtd)),
            ("rtmr1", hex::encode(td.rtmr[1])),
            ("rtmr2", hex::encode(td.rtmr[2])),
            ("rtmr3", hex::encode(td.rtmr[3])),
            ("mr_config_id", hex::encode(td.mr_config_id)),
            ("mr_owner", hex::encode(td.mr_owner)),
            ("mr_owner_config", hex::encode(td.mr_owner_config)),
            ("td_attributes", hex::encode(td.td_attributes)),
            ("xfam", hex::encode(td.xfam)),
        ] {
            measurements[name] = Value::String(value);
        }
        measurements["rtmr0"] = VM_SHAPES
            .iter()
            .map(|shape| self.rtmr0_hex(shape))
            .collect();
        self.allowlist_around("1.1", &measurements)
    }

    /// The same with RTMR3 described by its events instead of pinned.
    pub fn allowlist_with_events(&self) -> Value {
        let mut allowlist = self.allowlist();
        allowlist["measurements"]["rtmr3"] = Value::Null;
        allowlist["rtmr3_events"] = self
            .events()
            .iter()
            .filter(|event| event.imr == 3)
            .map(
                |event| json!({ "name": event.name, "payload_sha256": sha256_hex(&event.payload) }),
            )
            .collect();
        allowlist
    }

    /// The prototype's form: claims and no registers, so it can never be sealed.
    pub fn allowlist_1_0(&self) -> Value {
        self.allowlist_around("1.0", &self.claims_json())
    }

    /// The allowlist as the release's asset holds it.
    pub fn allowlist_json(&self) -> String {
        format!("{:#}\n", self.allowlist())
    }

    fn allowlist_around(&self, version: &str, measurements: &Value) -> Value {
        let workload_digest = hex::encode(self.claims().digest());
        let mut allowlist = json!({
            "version": version,
            "release_tag": self.tag,
            "created_at": CREATED_AT,
            "measurements": measurements,
            "report_data": workload_digest + &"0".repeat(64),
        });
        if version == "1.1" {
            allowlist["id"] = json!("demo");
            allowlist["sealed"] = json!(true);
            allowlist["revoked"] = json!(false);
        }
        allowlist
    }

    /// Claims as `attest_response.measurements` and allowlists carry them.
    pub fn claims_json(&self) -> Value {
        let WorkloadClaims {
            agent_dir_sha256,
            agent_py_sha256,
            vm_image_id,
            sealed,
        } = self.claims();
        json!({
            "agent_dir_sha256": agent_dir_sha256,
            "agent_py_sha256": agent_py_sha256,
            "vm_image_id": vm_image_id,
            "sealed": sealed,
        })
    }

    fn rtmr0_hex(&self, vm_shape: &str) -> String {
        let event = Event::firmware(0, self.register(vm_shape), "ACPI DATA");
        hex::encode(replay(&[event])[0])
    }

    fn register(&self, part: &str) -> Register {
        sha384(&self.part(part))
    }

    fn sha256_hex(&self, part: &str) -> String {
        sha256_hex(&self.part(part))
    }

    fn part(&self, part: &str) -> Vec<u8> {
        format!(
            "EasyEnclave demo image v1|{}|{}|{part}",
            self.seed, self.tag
        )
        .into_bytes()
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rogue_differs_in_rtmr2_alone() {
        let (good, rogue) = (DemoImage::new(1), DemoImage::new(1).rogue());
        let (mut expected, actual) = (good.td(), rogue.td());
        assert_ne!(expected.rtmr[2], actual.rtmr[2]);
        expected.rtmr[2] = actual.rtmr[2];
        assert_eq!(expected, actual);
        assert_eq!(good.claims(), rogue.claims());
    }

    #[test]
    fn every_shape_of_the_image_is_pinned() {
        let image = DemoImage::new(1);
        let pins = image.allowlist()["measurements"]["rtmr0"].clone();
        let shapes = [image.td().rtmr[0], image.on_other_shape().td().rtmr[0]].map(hex::encode);
        assert_eq!(pins, json!(shapes));
        assert_ne!(shapes[0], shapes[1]);
    }

    #[test]
    fn image_is_a_function_of_seed_and_tag() {
        assert_eq!(
            DemoImage::new(1).allowlist_json(),
            DemoImage::new(1).allowlist_json()
        );
        assert_ne!(DemoImage::new(1).td(), DemoImage::new(2).td());
        assert_ne!(
            DemoImage::new(1).td(),
            DemoImage::new(1).with_tag("v0.2.0").td()
        );
    }
}
