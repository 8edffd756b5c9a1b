//! Secrets come from files: what is on a command line or in an environment, others can read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::token::Secret;

/// Bytes of a secret at least: of what is shorter, all can be tried.
const BYTES_MIN: usize = 16;

/// Bytes of a file that is read.
const BYTES_MAX: u64 = 4096;

/// A file has no secret that can be used.
#[derive(Debug)]
pub struct SecretError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Io(io::Error),
    NoFile,
    Open(u32),
    Empty,
    Short(usize),
    Long,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Io(error) if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "{path}: there is no such file. Make one with a secret of its own: (umask 077; openssl rand -hex 32 >{path})"
            ),
            Why::Io(error) => write!(f, "{path}: {error}"),
            Why::NoFile => write!(f, "{path}: is not a file"),
            Why::Open(mode) => write!(
                f,
                "{path}: others than its owner can read or write it (mode {mode:03o}), so it is no secret: chmod 600 {path}, and give it a new secret"
            ),
            Why::Empty => {
                write!(f, "{path}: is empty. A secret is at least {BYTES_MIN} bytes: openssl rand -hex 32")
            }
            Why::Short(bytes) => write!(
                f,
                "{path}: has {bytes} bytes, and a secret at least {BYTES_MIN}: openssl rand -hex 32"
            ),
            Why::Long => write!(f, "{path}: is longer than {BYTES_MAX} bytes, which no secret is"),
        }
    }
}

impl std::error::Error for SecretError {}

/// The secret in a file, without the end of its line.
///
/// # Errors
/// It is not there, is empty or short, or others can read it. What systemd passes on (`LoadCredential=`, below
/// `$CREDENTIALS_DIRECTORY`) shows rights of a group, for so its access list is shown; nobody else can enter that folder.
pub fn read(path: &Path, credentials: Option<&Path>) -> Result<Secret, SecretError> {
    let error = |why| SecretError { path: path.to_owned(), why };
    let file = File::open(path).map_err(|why| error(Why::Io(why)))?;
    let found = file.metadata().map_err(|why| error(Why::Io(why)))?;
    if !found.is_file() {
        return Err(error(Why::NoFile));
    }
    let is_passed_on = credentials.is_some_and(|folder| path.starts_with(folder));
    let others = if is_passed_on { 0o007 } else { 0o077 };
    if found.mode() & others != 0 {
        return Err(error(Why::Open(found.mode() & 0o777)));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|why| error(Why::Io(why)))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(error(Why::Long));
    }
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    match bytes.len() {
        0 => Err(error(Why::Empty)),
        length if length < BYTES_MIN => Err(error(Why::Short(length))),
        _ => Ok(Secret::new(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_has_a_secret_or_it_is_said_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let check = |content: &str, mode: u32, credentials: Option<&Path>, expected: Result<&str, &str>| {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read(&path, credentials);
            match expected {
                Ok(secret) => assert!(read.unwrap().is(secret.as_bytes()), "{content:?}"),
                Err(words) => {
                    let said = read.unwrap_err().to_string();
                    assert!(said.contains(words) && said.contains("secret"), "{said}");
                }
            }
        };
        check("0123456789abcdef\n", 0o600, None, Ok("0123456789abcdef"));
        check("0123456789abcdef\r\n\n", 0o400, None, Ok("0123456789abcdef"));
        check("", 0o600, None, Err("is empty"));
        check("\n", 0o600, None, Err("is empty"));
        check("0123456789abcde\n", 0o600, None, Err("has 15 bytes"));
        check(&"x".repeat(5000), 0o600, None, Err("longer than"));
        for mode in [0o640, 0o604, 0o620, 0o644, 0o601] {
            check("0123456789abcdef\n", mode, None, Err("chmod 600"));
        }
        check("0123456789abcdef\n", 0o440, Some(folder.path()), Ok("0123456789abcdef"));
        check("0123456789abcdef\n", 0o444, Some(folder.path()), Err("chmod 600"));
        check("0123456789abcdef\n", 0o440, Some(Path::new("/elsewhere")), Err("chmod 600"));
    }

    #[test]
    fn no_file_is_said_with_what_makes_one() {
        let folder = tempfile::tempdir().unwrap();
        let said = read(&folder.path().join("none"), None).unwrap_err().to_string();
        assert!(said.contains("no such file") && said.contains("openssl rand"), "{said}");
        let said = read(folder.path(), None).unwrap_err().to_string();
        assert!(said.contains("not a file"), "{said}");
    }
}
