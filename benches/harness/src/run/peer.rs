//! The table of peers: what each is started with. A configuration is a file of `benches/peers/` with `@NAMES@` that
//! the runner fills in. `direct` is no peer but the way without a proxy: the ceiling of the load itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// Ports that the table takes, from the first free one on.
pub(crate) const PORTS: u16 = 8;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// For `--peers` and the summary.
    pub(crate) name: &'static str,
    /// Program; `None` for `direct`.
    program: Option<&'static str>,
    /// Debian package that has it; `None` when it is built from this repository.
    package: Option<&'static str>,
    /// Its configuration in `benches/peers/`.
    pub(crate) configuration: Option<&'static str>,
    /// Arguments; `@CONFIG@` is the configuration's path.
    arguments: &'static [&'static str],
    /// Argument that makes it print its version.
    version: &'static str,
    /// Its port, counted from the first free one; the one after it is for metrics.
    pub(crate) port: u16,
}

const NGINX: Peer = Peer {
    name: "nginx",
    program: Some("nginx"),
    package: Some("nginx"),
    configuration: Some("nginx.conf"),
    arguments: &["-p", "@RUN@", "-c", "@CONFIG@", "-e", "@RUN@/error.log", "-g", "daemon off;"],
    version: "-v",
    port: 0,
};

const PEERS: &[Peer] = &[
    NGINX,
    // The same once more, on another port: how far these two are apart is the noise.
    Peer { name: "nginx-again", port: 2, ..NGINX },
    Peer {
        name: "haproxy",
        program: Some("haproxy"),
        package: Some("haproxy"),
        configuration: Some("haproxy.conf"),
        arguments: &["-db", "-f", "@CONFIG@"],
        version: "-v",
        port: 4,
    },
    Peer {
        name: "stickyd",
        program: Some("stickyd"),
        package: None,
        configuration: Some("stickyd.toml"),
        arguments: &["run", "--config", "@CONFIG@"],
        version: "--version",
        port: 6,
    },
    Peer {
        name: "direct",
        program: None,
        package: None,
        configuration: None,
        arguments: &[],
        version: "",
        port: 0,
    },
];

/// A peer whose program was found.
pub(crate) struct Installed {
    /// Its row.
    pub(crate) row: Peer,
    /// Its program; `None` for `direct`.
    pub(crate) binary: Option<PathBuf>,
}

/// What the `@NAMES@` of a configuration become.
pub(crate) struct Setting<'a> {
    /// `@RUN@`: a directory for its files.
    pub(crate) directory: &'a Path,
    /// `@LISTEN@`.
    pub(crate) port: SocketAddr,
    /// `@METRICS@`.
    pub(crate) metrics: SocketAddr,
    /// `@INSTANCE1@`, `@INSTANCE2@`.
    pub(crate) instances: [SocketAddr; 2],
}

impl Peer {
    /// Writes the configuration and returns the command line.
    pub(crate) fn command(&self, binary: &Path, setting: &Setting<'_>) -> Result<Vec<String>> {
        let name = self.configuration.context("a peer without a configuration")?;
        let template = fs::read_to_string(configurations().join(name)).with_context(|| name.to_owned())?;
        let path = setting.directory.join(name);
        fs::write(&path, fill(&template, &path, setting)?)?;
        let mut command = vec![binary.display().to_string()];
        for argument in self.arguments {
            command.push(fill(argument, &path, setting)?);
        }
        Ok(command)
    }
}

fn fill(template: &str, config: &Path, setting: &Setting<'_>) -> Result<String> {
    let names = [
        ("@RUN@", setting.directory.display().to_string()),
        ("@CONFIG@", config.display().to_string()),
        ("@LISTEN@", setting.port.to_string()),
        ("@METRICS@", setting.metrics.to_string()),
        ("@INSTANCE1@", setting.instances[0].to_string()),
        ("@INSTANCE2@", setting.instances[1].to_string()),
    ];
    let filled = names.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
    ensure!(!filled.contains('@'), "a name in @ that the runner does not know: {filled}");
    Ok(filled)
}

/// The named rows, in the order of the names.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Peer>> {
    let find = |name: &String| {
        let row = PEERS.iter().find(|peer| peer.name == name).copied();
        row.with_context(|| format!("no peer {name:?}; there are {}", super::names(PEERS).join(", ")))
    };
    names.iter().map(find).collect()
}

/// Finds every program; builds stickyd, installs Debian's packages when that is allowed.
pub(crate) fn install(peers: &[Peer], stickyd: Option<&Path>, stop: &AtomicBool) -> Result<Vec<Installed>> {
    let mut installed = Vec::new();
    for &row in peers {
        ensure!(!stop.load(Ordering::Relaxed), "interrupted");
        let binary = match (row.program, row.package) {
            (None, _) => None,
            (Some(program), Some(package)) => Some(match find(program) {
                Some(path) => path,
                None => apt_get(program, package)?,
            }),
            (Some(_), None) => Some(match stickyd {
                Some(path) => path.canonicalize().with_context(|| format!("{}", path.display()))?,
                None => build()?,
            }),
        };
        installed.push(Installed { row, binary });
    }
    Ok(installed)
}

/// What a peer says of its version, in one line.
pub(crate) fn version(peer: &Installed) -> String {
    let Some(binary) = &peer.binary else { return "no proxy".to_owned() };
    match Command::new(binary).arg(peer.row.version).output() {
        // nginx prints it where errors go.
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).lines().next().unwrap_or("says nothing").to_owned()
        }
        Err(error) => format!("unknown: {error}"),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    // Debian's daemons live where a user's PATH often does not reach.
    let directories = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    directories.map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

fn apt_get(program: &str, package: &str) -> Result<PathBuf> {
    let wanted = format!("{program} is missing: apt-get install {package}");
    ensure!(rustix::process::geteuid().is_root() && find("apt-get").is_some(), "{wanted}");
    eprintln!("{wanted}");
    let status = Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Installed to be measured, not to serve: in "single user mode" a package starts nothing.
        .env("RUNLEVEL", "1")
        .status()?;
    ensure!(status.success(), "{wanted}: {status}");
    find(program).with_context(|| format!("{package} has no {program}"))
}

/// Builds stickyd from this tree: a binary that happens to lie there may be of any commit.
fn build() -> Result<PathBuf> {
    let repository = repository();
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--bin", "stickyd"])
        .current_dir(&repository)
        .status()
        .context("cargo")?;
    if !status.success() {
        bail!("stickyd was not built: {status}");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    Ok(repository.join(target).join("release/stickyd"))
}

/// The repository that the harness was built in.
pub(crate) fn repository() -> PathBuf {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
    harness.ancestors().nth(2).unwrap_or(harness).to_owned()
}

/// Where the configurations are.
pub(crate) fn configurations() -> PathBuf {
    repository().join("benches/peers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_do_not_overlap_and_fit_the_block() {
        let mut ports = std::collections::BTreeSet::new();
        for peer in PEERS.iter().filter(|peer| peer.program.is_some()) {
            assert!(ports.insert(peer.port) && ports.insert(peer.port + 1), "{}", peer.name);
            assert!(peer.port + 1 < PORTS, "{}", peer.name);
        }
    }

    #[test]
    fn every_configuration_can_be_filled_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let port = SocketAddr::from(([127, 0, 0, 1], 1));
        let setting = Setting { directory: directory.path(), port, metrics: port, instances: [port; 2] };
        let mut written = 0;
        for peer in PEERS.iter().filter(|peer| peer.configuration.is_some()) {
            let command = peer.command(Path::new("/bin/x"), &setting).expect(peer.name);
            assert!(command.iter().all(|part| !part.contains('@')), "{command:?}");
            written += 1;
        }
        assert_eq!(written, 4);
    }

    #[test]
    fn a_misspelt_peer_is_refused() {
        assert!(chosen(&["engine-x".to_owned()]).is_err());
    }
}
