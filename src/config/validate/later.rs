//! Tables whose behaviour comes later: every key with its reader, default and range, and nothing made of them yet.
//!
//! A wrong value is reported as wrong; a right one as not available (`availability`). What the model needs of a table
//! moves to a file of its own with the behaviour.

use std::time::Duration;

use super::super::raw::{Table, Wrong, duration, off_or, text};
use super::{address, names};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = s(3600);
const DAY: Duration = s(24 * 3600);

/// The top level's.
pub(super) fn read(top: &mut Table<'_>) {
    admin(top.table_or_off("admin", Some("{ address = \"off\" }")));
    upgrade(top.table("upgrade"));
}

fn admin(mut table: Table<'_>) {
    table.get("socket", "/run/stickyd/admin.sock".into(), text(names::file));
    table.get("mode", 0o660, text(mode));
    table.get("group", "stickyd".to_owned(), text(names::name));
    table.get("address", Some(([127, 0, 0, 1], 7080).into()), off_or(text(address::socket)));
    table.finish();
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

fn upgrade(mut table: Table<'_>) {
    table.get("linger", 12 * HOUR, duration(s(0)..=30 * DAY));
    table.get("spread", s(600), duration(s(0)..=DAY));
    table.finish();
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
}
