//! `[admin]`: the socket of commands, and the status page.

use std::net::SocketAddr;

use super::super::model::{Admin, AdminSocket, GROUP, Page};
use super::super::raw::{Table, Wrong, off_or, text};
use super::{address, names};

pub(super) fn read(top: &mut Table<'_>) -> Admin {
    let mut table = top.table_or_off("admin", Some("{ socket = \"off\" }"));
    let admin = Admin {
        socket: table.get("socket", AdminSocket::Auto, text(socket)),
        mode: table.get("mode", 0o660, text(mode)),
        group: table.get("group", GROUP.to_owned(), text(names::name)),
        page: page(&mut table, Page::STATUS),
    };
    table.finish();
    admin
}

/// The `address` of what is shown, `usual` where the table does not say.
pub(super) fn page(table: &mut Table<'_>, usual: SocketAddr) -> Option<Page> {
    let address = table.get("address", Some(usual), off_or(text(address::socket)))?;
    Some(Page { address, named: table.key_span("address").is_some() })
}

/// The longest path that a socket can have (unix(7)), in bytes, less what a name beside it takes until it is ready.
const PATH_MAX: usize = 90;

fn socket(text: &str) -> Result<AdminSocket, Wrong> {
    match text {
        "auto" => Ok(AdminSocket::Auto),
        "off" => Ok(AdminSocket::Off),
        path if path.len() > PATH_MAX => {
            Err(Wrong::new(format!("is longer than {PATH_MAX} bytes"), "write a shorter path"))
        }
        path => names::file(path).map(AdminSocket::Path).map_err(|wrong| {
            Wrong::new(wrong.what, "write \"auto\", \"off\" or for example \"/run/stickyd/admin.sock\"")
        }),
    }
}

/// Permission bits in octal.
fn mode(text: &str) -> Result<u32, Wrong> {
    let digits = text.len() == 4 && text.starts_with('0') && text.bytes().all(|c| matches!(c, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(bits) if digits => Ok(bits),
        Ok(bits) if bits <= 0o777 => {
            Err(Wrong::new("must be four octal digits", format!("write \"{bits:04o}\"")))
        }
        _ => Err(Wrong::new("must be four octal digits", "write for example \"0660\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions() {
        assert_eq!((mode("0660"), mode("0600")), (Ok(0o660), Ok(0o600)));
        for bad in ["", "660", "0o660", "0888", "rw-rw----", "+660"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets() {
        assert_eq!(socket("auto"), Ok(AdminSocket::Auto));
        assert_eq!(socket("off"), Ok(AdminSocket::Off));
        assert_eq!(socket("/run/x.sock"), Ok(AdminSocket::Path("/run/x.sock".into())));
        for bad in ["", "admin.sock", "/run/", &format!("/{}", "x".repeat(PATH_MAX))] {
            assert!(socket(bad).is_err(), "{bad}");
        }
    }
}
