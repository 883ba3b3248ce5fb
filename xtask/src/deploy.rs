//! Deploy files load in the real programs: nginx, Caddy and Traefik.
//!
//! nginx and Caddy can check a configuration without running it. Traefik cannot: it is started on
//! a free port and must know the names that the configuration routes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::programs;
use crate::steps::Outcome;

/// Where the templates lie, one folder a program.
const PROXIES: &str = "deploy/proxies";
/// How often Traefik is asked before it is given up, a fifth of a second apart.
const TRAEFIK_TRIES: usize = 100;

/// Values for the templates' placeholders that need no right beyond a user's. Nobody listens on
/// the addresses of the control plane.
const VALUES: [(&str, &str); 8] = [
    ("BIND", "127.0.0.1"),
    ("HTTP_PORT", "18081"),
    ("HTTPS_PORT", "18443"),
    ("ISSUER", "internal"),
    ("CONTROL_HOST", "control.example.com"),
    ("APP_DOMAIN", "app.example.com"),
    ("CONTROL", "127.0.0.1:9"),
    ("PROXY", "127.0.0.1:9"),
];

/// One folder of templates: the files to fill in, and how the program takes them.
struct Proxy {
    name: &'static str,
    files: &'static [&'static str],
    load: fn(program: &Path, folder: &Path, listen: SocketAddr) -> Result<Outcome>,
}

const NGINX: Proxy = Proxy {
    name: "nginx",
    files: &["nginx.conf"],
    load: load_nginx,
};

const CADDY: Proxy = Proxy {
    name: "caddy",
    files: &["Caddyfile"],
    load: load_caddy,
};

const TRAEFIK: Proxy = Proxy {
    name: "traefik",
    files: &["traefik.yaml", "routes.yaml"],
    load: load_traefik,
};

pub fn check(root: &Path) -> Result<Outcome> {
    let mut skipped = Vec::new();
    for proxy in [NGINX, CADDY, TRAEFIK] {
        match proxy.check(root)? {
            Outcome::Passed => {}
            Outcome::Skipped(why) => skipped.push(why),
            Outcome::Failed(why) => {
                return Ok(Outcome::Failed(format!("{}: {why}", proxy.name)));
            }
        }
    }
    Ok(if skipped.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Skipped(skipped.join("; "))
    })
}

impl Proxy {
    fn check(&self, root: &Path) -> Result<Outcome> {
        let folder = root.join(PROXIES).join(self.name);
        let mut templates = Vec::new();
        for &file in self.files {
            let path = folder.join(format!("{file}.template"));
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string());
            templates.push((file, text?));
        }
        let readme = folder.join("README.md");
        let readme =
            std::fs::read_to_string(&readme).with_context(|| readme.display().to_string())?;
        if let Some(name) = untold(&templates, &readme) {
            let why = format!("README.md does not fill in @@{name}@@");
            return Ok(Outcome::Failed(why));
        }
        self.check_templates(root, &templates)
    }

    fn check_templates(&self, root: &Path, templates: &[(&str, String)]) -> Result<Outcome> {
        let name = self.name;
        let Some(program) = programs::find(root, name) else {
            let install = programs::install(name);
            return Ok(Outcome::Skipped(format!("{name} is missing: {install}")));
        };
        let folder = Folder::new(name)?;
        let listen = free_address()?;
        for (file, template) in templates {
            let filled = fill(template, &folder.0, listen);
            if let Some(at) = filled.find("@@") {
                let rest: String = filled[at..].chars().take(40).collect();
                let why = format!("a placeholder has no value: {rest}");
                return Ok(Outcome::Failed(why));
            }
            std::fs::write(folder.0.join(file), filled).context("a temporary file")?;
        }
        (self.load)(&program, &folder.0, listen)
    }
}

/// A placeholder that the command of the README leaves as it is.
fn untold<'a>(templates: &'a [(&str, String)], readme: &str) -> Option<&'a str> {
    let words = |text: &'a String| text.split("@@").skip(1).step_by(2);
    templates
        .iter()
        .flat_map(|(_, text)| words(text))
        .find(|name| !readme.contains(&format!("s|@@{name}@@|")))
}

/// A temporary folder, gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("ee-xtask-{name}-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).context("a temporary folder")?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("loopback")?;
    listener.local_addr().context("loopback")
}

fn fill(template: &str, folder: &Path, listen: SocketAddr) -> String {
    let mut text = template
        .replace("@@RUN_DIR@@", &folder.display().to_string())
        .replace("@@LISTEN@@", &listen.to_string());
    for (name, value) in VALUES {
        text = text.replace(&format!("@@{name}@@"), value);
    }
    text
}

fn load_nginx(program: &Path, folder: &Path, _: SocketAddr) -> Result<Outcome> {
    let mut command = Command::new(program);
    command.args(["-t", "-q", "-e", "stderr", "-p"]).arg(folder);
    judge(command.arg("-c").arg(folder.join("nginx.conf")))
}

fn load_caddy(program: &Path, folder: &Path, _: SocketAddr) -> Result<Outcome> {
    let mut command = Command::new(program);
    command.args(["validate", "--adapter", "caddyfile", "--config"]);
    judge(command.arg(folder.join("Caddyfile")).env("HOME", folder))
}

fn judge(command: &mut Command) -> Result<Outcome> {
    let output = command.stdin(Stdio::null()).output().context("a proxy")?;
    Ok(if output.status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    })
}

/// Traefik answers 404 to names without a route and 500 or 502 to ours, since nobody is behind it.
fn load_traefik(program: &Path, folder: &Path, listen: SocketAddr) -> Result<Outcome> {
    let log = folder.join("log");
    let said = std::fs::File::create(&log).context("a temporary file")?;
    let child = Command::new(program)
        .arg(format!(
            "--configFile={}",
            folder.join("traefik.yaml").display()
        ))
        .stdin(Stdio::null())
        .stdout(said)
        .stderr(Stdio::null())
        .spawn()
        .context("traefik")?;
    let mut child = Owned(child);
    let ours = ["control.example.com", "hello.app.example.com"];
    for _ in 0..TRAEFIK_TRIES {
        let loaded = ours.map(|host| matches!(status(listen, host), Some(500 | 502)));
        if loaded == [true; 2] {
            return Ok(match status(listen, "hello.appxexample.com") {
                Some(404) => Outcome::Passed,
                other => Outcome::Failed(format!("a stranger's name was answered with {other:?}")),
            });
        }
        if child.0.try_wait().context("traefik")?.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    Ok(Outcome::Failed(said.trim().to_owned()))
}

/// The status of `GET /` for a host; nothing if nobody answers.
fn status(listen: SocketAddr, host: &str) -> Option<u16> {
    let mut socket = TcpStream::connect(listen).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1)?.parse().ok()
}

/// A child that ends with its handle.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(proxy: &Proxy) {
        match proxy.check(crate::root()).expect("the check runs") {
            Outcome::Passed | Outcome::Skipped(_) => {}
            Outcome::Failed(why) => panic!("{why}"),
        }
    }

    /// Each of `texts` in place of the program's last file is refused.
    fn refuses(proxy: &Proxy, texts: &[&str]) {
        for &text in texts {
            let files = proxy.files.iter().map(|&file| (file, text.to_owned()));
            let outcome = proxy.check_templates(crate::root(), &files.collect::<Vec<_>>());
            let outcome = outcome.expect("the check runs");
            assert!(
                !matches!(outcome, Outcome::Passed),
                "{}: {text}",
                proxy.name
            );
        }
    }

    #[test]
    fn nginx_example_loads() {
        loads(&NGINX);
    }

    #[test]
    fn caddy_example_loads() {
        loads(&CADDY);
    }

    #[test]
    fn traefik_example_loads() {
        loads(&TRAEFIK);
    }

    #[test]
    fn placeholder_that_the_readme_forgets_is_found() {
        let templates = [("a.conf", "listen @@LISTEN@@;\nname @@NAME@@;\n".to_owned())];
        let readme = "sed -e 's|@@LISTEN@@|0.0.0.0:80|g' a.conf.template";
        assert_eq!(untold(&templates, readme), Some("NAME"));
        assert_eq!(
            untold(&templates, &format!("{readme} -e 's|@@NAME@@|x|g'")),
            None
        );
    }

    #[test]
    fn broken_configuration_is_found() {
        let nowhere = "events {}\nhttp { server { listen nowhere; } }\n";
        refuses(&NGINX, &[nowhere, "events {}\n# @@NEW@@\n"]);
        refuses(
            &CADDY,
            &["localhost {\n\tno_such_directive\n}\n", "# @@NEW@@\n"],
        );
        refuses(&TRAEFIK, &["entryPoints: 7\n", "# @@NEW@@\n"]);
    }
}
