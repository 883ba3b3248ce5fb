//! A throw-away PostgreSQL cluster: in a temporary folder, reached over a Unix socket there, as
//! durable as a real one (`fsync`, `synchronous_commit` and `full_page_writes` stay on).
//!
//! xtask compiles this file too, so it needs the standard library only.
//!
//! **Invariants**
//! - PostgreSQL refuses to run as root: then it runs as another user, who owns the folder.
//! - Nothing is left behind, however its owner ends: a janitor process holds the other end of a
//!   pipe, and stops the server and removes the folder when the pipe closes.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// Tests find the URL of the shared cluster under this name.
pub const TEST_URL: &str = "EE_TEST_DATABASE_URL";

/// What to do when the programs are missing.
pub const INSTALL: &str = "apt-get install postgresql";

/// Where distributions put the server's programs, Debian's newest first.
const DEBIAN: &str = "/usr/lib/postgresql";
const OTHERS: &[&str] = &["/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin"];

/// Who may run the server when we are root, in order of preference.
const OTHER_USERS: &[&str] = &["postgres", "nobody"];

/// The superuser that tests connect as; the folder's mode keeps others out.
const ROLE: &str = "easyenclave";

/// Stops what the folder's server is and removes the folder once standard input ends. The server
/// has ten seconds to obey SIGQUIT, which it needs milliseconds for.
const JANITOR: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && kill -s QUIT "$pid" 2>/dev/null; then
    tries=0
    while kill -s 0 "$pid" 2>/dev/null && [ "$tries" -lt 200 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -s KILL "$pid" 2>/dev/null
fi
rm -rf "$1"
"#;

/// Numbers the clusters of one process.
static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A running cluster; it ends with this value, or with the process that holds it.
#[derive(Debug)]
pub struct PostgresCluster {
    programs: PathBuf,
    folder: PathBuf,
    user: Option<User>,
    janitor: Child,
    leash: Option<ChildStdin>,
}

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

impl PostgresCluster {
    /// The folder of PostgreSQL's server programs, if they are installed.
    #[must_use]
    pub fn programs() -> Option<PathBuf> {
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        versions.sort();
        let debian = versions.into_iter().rev().map(|(_, folder)| folder);
        debian
            .chain(OTHERS.iter().map(PathBuf::from))
            .find(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists())
    }

    /// Makes a cluster in a new folder and starts it.
    ///
    /// # Errors
    /// The programs are missing, or one of them failed: then with what it said.
    pub fn start() -> io::Result<Self> {
        let programs = Self::programs()
            .ok_or_else(|| io::Error::other(format!("PostgreSQL is missing: {INSTALL}")))?;
        let user = other_user()?;
        let folder = make_folder(user)?;
        let mut janitor = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the interrupt key, which goes to the whole group.
            .process_group(0)
            .spawn()?;
        let leash = janitor.stdin.take();
        let cluster = Self {
            programs,
            folder,
            user,
            janitor,
            leash,
        };
        cluster.initialise()?;
        cluster.start_server()?;
        Ok(cluster)
    }

    /// The URL of the cluster's first database.
    #[must_use]
    pub fn url(&self) -> String {
        let folder = self.folder.to_string_lossy().replace('/', "%2F");
        format!("postgresql://{ROLE}@{folder}/postgres")
    }

    /// The folder of the server's socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Stops the server without any farewell: connections break, nothing is written any more, and
    /// the next start recovers from the log.
    ///
    /// # Errors
    /// With what `pg_ctl` said.
    pub fn stop_immediately(&self) -> io::Result<()> {
        self.run(
            "pg_ctl",
            &["stop", "--mode=immediate", "--wait", "--pgdata"],
            &[],
        )
    }

    /// Starts the server again after [`Self::stop_immediately`].
    ///
    /// # Errors
    /// With what `pg_ctl` said.
    pub fn start_server(&self) -> io::Result<()> {
        self.start_server_with("")
    }

    /// Starts the server again with more options, which take precedence.
    ///
    /// # Errors
    /// With what `pg_ctl` said.
    pub fn start_server_with(&self, more: &str) -> io::Result<()> {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=on \
             -c synchronous_commit=on -c full_page_writes=on -c max_connections=200 {more}",
            self.folder.display()
        );
        let log = self.folder.join("log");
        let more = ["--log".as_ref(), log.as_os_str(), "-o".as_ref()];
        let more = [&more[..], &[options.as_ref()]].concat();
        self.run(
            "pg_ctl",
            &["start", "--wait", "--silent", "--pgdata"],
            &more,
        )
        .map_err(|error| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            io::Error::other(format!("{error}\n{said}"))
        })
    }

    fn initialise(&self) -> io::Result<()> {
        let role = format!("--username={ROLE}");
        let arguments = [
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            // What initdb writes need not survive a power cut: the folder would not either.
            "--no-sync",
            &role,
            "--pgdata",
        ];
        self.run("initdb", &arguments, &[])
    }

    /// Runs one of PostgreSQL's programs: `arguments`, the data folder, `more`.
    fn run(&self, program: &str, arguments: &[&str], more: &[&OsStr]) -> io::Result<()> {
        let mut command = self.as_user(self.programs.join(program));
        let said = self.folder.join("said");
        let status = command
            .args(arguments)
            .arg(self.folder.join("data"))
            .args(more)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            // Files, not pipes: the server inherits them and would hold a pipe open.
            .stdout(fs::File::create(&said)?)
            .stderr(fs::File::create(&said)?)
            .status()?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&said).unwrap_or_default();
        Err(io::Error::other(format!("{program}: {status}: {said}")))
    }

    fn as_user(&self, program: PathBuf) -> Command {
        let Some(user) = self.user else {
            return Command::new(program);
        };
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", user.uid))
            .arg(format!("--regid={}", user.gid))
            .args(["--clear-groups", "--"])
            .arg(OsString::from(program));
        command
    }
}

/// The database at `url` as seen from a new schema of this name: a test's own, in a shared cluster.
///
/// # Errors
/// With what `psql` said.
pub fn new_schema(url: &str, name: &str) -> io::Result<String> {
    let programs = PostgresCluster::programs().unwrap_or_default();
    let output = Command::new(programs.join("psql"))
        .args(["--no-psqlrc", "--quiet", "--command"])
        .arg(format!("CREATE SCHEMA {name}"))
        .arg(url)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("psql: {}: {said}", output.status)));
    }
    Ok(format!("{url}?options=-csearch_path%3D{name}"))
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        drop(self.leash.take());
        // The janitor cleans up whether or not anybody waits for it.
        let _ = self.janitor.wait();
    }
}

/// Whom to run the server as: nobody else, unless we are root.
fn other_user() -> io::Result<Option<User>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let found = OTHER_USERS.iter().find_map(|name| user(&accounts, name));
    match found {
        Some(user) => Ok(Some(user)),
        None => Err(io::Error::other(
            "PostgreSQL refuses to run as root, and there is no user postgres or nobody",
        )),
    }
}

/// A user's row in the format of passwd(5).
fn user(accounts: &str, name: &str) -> Option<User> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { uid, gid })
    })
}

fn make_folder(user: Option<User>) -> io::Result<PathBuf> {
    let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("ee-postgres-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    DirBuilder::new().mode(0o700).create(&folder)?;
    if let Some(User { uid, gid }) = user {
        chown(&folder, Some(uid), Some(gid))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_passwd_lines() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        let postgres = Some(User { uid: 101, gid: 104 });
        assert_eq!(user(accounts, "postgres"), postgres);
        assert_eq!(user(accounts, "post"), None);
    }

    #[test]
    fn cluster_stops_starts_again_and_leaves_nothing() {
        if PostgresCluster::programs().is_none() {
            return;
        }
        let cluster = PostgresCluster::start().expect("a cluster");
        let folder = cluster.socket_folder().to_owned();
        let socket = folder.join(".s.PGSQL.5432");
        assert!(socket.exists());
        cluster.stop_immediately().expect("it stops");
        cluster.start_server().expect("it recovers");
        assert!(socket.exists());
        drop(cluster);
        assert!(!folder.exists());
    }
}
