//! Queries without their secrets. Pure.
//!
//! Tokens travel in queries, and a log is read by more people than may have them. So names of parameters are shown and
//! values are not, but for the two that say how Engine.IO is spoken.

/// What stands for a value.
const MASK: &[u8] = b"***";

/// Longest value that is shown.
const SHOWN_MAX: usize = 16;

/// Gives `target` (path and query, or a whole URL) piece by piece, with the query masked:
/// `/socket.io/?EIO=4&sid=x&t` becomes `/socket.io/?EIO=4&sid=***&***`.
pub(super) fn pieces(target: &[u8], mut piece: impl FnMut(&[u8])) {
    let Some(mark) = memchr::memchr(b'?', target) else { return piece(target) };
    let (path, query) = target.split_at(mark + 1);
    piece(path);
    for (index, parameter) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            piece(b"&");
        }
        masked(parameter, &mut piece);
    }
}

fn masked(parameter: &[u8], piece: &mut impl FnMut(&[u8])) {
    let equals = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
    let (name, value) = parameter.split_at(equals);
    let is_shown = matches!(name, b"EIO" | b"transport") && is_plain(&value[value.len().min(1)..]);
    if parameter.is_empty() || is_shown {
        piece(parameter);
    } else if value.iter().all(|byte| *byte == b'=') {
        // Without a value the name may be the secret: `?dG9rZW4=` is base64 with its padding.
        piece(MASK);
    } else {
        piece(name);
        piece(b"=");
        piece(MASK);
    }
}

/// Only what a version or a transport can look like: `EIO=4;token=x` is no version.
fn is_plain(value: &[u8]) -> bool {
    value.len() <= SHOWN_MAX && value.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        fn check(target: &str, expected: &str) {
            let mut out = Vec::new();
            pieces(target.as_bytes(), |piece| out.extend_from_slice(piece));
            assert_eq!(String::from_utf8_lossy(&out), expected, "{target}");
        }
        check("/", "/");
        check("*", "*");
        check("", "");
        check("/a?", "/a?");
        check(
            "/socket.io/?EIO=4&transport=polling&sid=secret",
            "/socket.io/?EIO=4&transport=polling&sid=***",
        );
        check("/?sid=secret&EIO=3&transport=websocket", "/?sid=***&EIO=3&transport=websocket");
        check("/?token=a=b=c", "/?token=***");
        check("/?token", "/?***");
        check("/?dG9rZW4=", "/?***");
        check("/?dG9rZQ==", "/?***");
        check("/?=secret", "/?=***");
        check("/?a=b&&c=d&", "/?a=***&&c=***&");
        check("/?a=b?c=d", "/?a=***");
        check("/?EIO", "/?EIO");
        check("/?EIO=", "/?EIO=");
        check("/?eio=4", "/?eio=***");
        check("/?EIO=4;token=secret", "/?EIO=***");
        check("/?transport=0123456789abcdefg", "/?transport=***");
        check("/?transport=%70olling", "/?transport=***");
        check("https://a.example/b?token=secret", "https://a.example/b?token=***");
    }
}
