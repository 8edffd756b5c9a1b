//! Who a client is: what the handshake's `auth` and a request's headers prove. The only place that decides it.

use rmpv::Value;

use super::settings::Settings;
use super::value::field;

/// A client whose identity was established. Kept with its socket: `socket.extensions.get::<User>()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User(pub String);

/// The client has not said who it is, or cannot prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unauthorized")
    }
}

impl std::error::Error for Refused {}

/// Who the client of a handshake of Socket.IO is.
///
/// # Errors
/// It cannot prove it.
pub fn of_handshake(auth: &Value, settings: &Settings) -> Result<User, Refused> {
    let claimed = field(auth, "userId")
        .and_then(Value::as_str)
        .filter(|user| !user.is_empty() && user.len() <= settings.name_bytes_max);
    match claimed {
        Some(user) if settings.insecure_demo => Ok(User(user.to_owned())),
        // A demonstration has also clients that do not say who they are; they are nobody's user.
        None if settings.insecure_demo => Ok(User(String::new())),
        _ => Err(Refused),
    }
}
