//! Who is let in: every handshake, every endpoint, and the command that makes tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::json;
use stickyd::app::instance::Instance;
use stickyd::app::settings::Settings;
use stickyd::app::shared::Shared;
use stickyd::app::token::{Key, Secret};

use super::support::{Client, as_operator, as_user, call, get, json_of, metric};
use super::{SECRET, settings, token};

#[test]
fn a_handshake_needs_a_token() {
    let instance = Instance::start(settings("a"), &Shared::in_process()).unwrap();
    let refused = |auth| Client::connect(instance.address(), &auth).err();
    let unauthorized = Some("unauthorized".to_owned());
    assert_eq!(refused(json!({})), unauthorized);
    assert_eq!(refused(json!({ "userId": "alice" })), unauthorized);
    assert_eq!(refused(json!({ "token": "alice" })), unauthorized);
    assert_eq!(
        refused(json!({ "token": Key::of(&Secret::new("another secret")).sign("alice", u64::MAX) })),
        unauthorized
    );
    assert_eq!(
        refused(json!({ "token": Key::of(&Secret::new(SECRET)).sign("alice", 1) })),
        Some("token expired".to_owned())
    );
    let mut alice = Client::of("alice", instance.address());
    assert_eq!(alice.ask("who", &json!(null))["userId"], "alice");
    assert_eq!(metric(instance.address(), "handshakes_refused_total"), 5);
}

/// Every endpoint that is not for everybody: who may use it.
const ENDPOINTS: &[(&str, bool, bool)] =
    &[("GET /presence/alice", true, true), ("GET /presence?ids=alice", true, true)];

#[test]
fn every_endpoint_needs_a_token() {
    let instance = Instance::start(settings("a"), &Shared::in_process()).unwrap();
    let demo = Settings { insecure_demo: true, operator_token: None, ..settings("b") };
    let demo = Instance::start(demo, &Shared::in_process()).unwrap();
    let address = instance.address();
    for &(line, is_for_users, is_for_operators) in ENDPOINTS {
        let json = "Content-Type: application/json\r\n";
        for fields in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Basic YTpi\r\n",
        ] {
            let answer = call(address, line, &format!("{fields}{json}"), "{}");
            assert_eq!(answer.status(), 401, "{line} with {fields:?}");
            assert_eq!(answer.field("www-authenticate").unwrap(), "Bearer");
        }
        let as_user = call(address, line, &format!("{}{json}", as_user("alice")), "{}").status();
        assert_eq!(as_user == 401, !is_for_users, "{line} as a user: {as_user}");
        let as_operator = call(address, line, &as_operator(), "{}").status();
        assert_eq!(as_operator == 401, !is_for_operators, "{line} as the operator: {as_operator}");
        if !is_for_users {
            // In a demonstration, too, and where there is no operator nobody is.
            for fields in [String::new(), self::as_operator(), self::as_user("alice")] {
                assert_eq!(
                    call(demo.address(), line, &format!("{fields}{json}"), "{}").status(),
                    403,
                    "{line}"
                );
            }
        }
    }
    assert!(metric(address, "requests_refused_total") >= 4 * ENDPOINTS.len() as u64);
}

#[test]
fn a_request_says_its_token_in_the_query_too() {
    let instance = Instance::start(settings("a"), &Shared::in_process()).unwrap();
    let answer = get(instance.address(), &format!("/presence/bob?token={}", token("alice")), "");
    assert_eq!(json_of(&answer), json!({ "userId": "bob", "online": false }));
    assert_eq!(get(instance.address(), "/presence/bob?userId=alice", "").status(), 401);
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stickyd-app")).args(arguments).env_clear().output().unwrap()
}

#[test]
fn the_command_prints_a_token_and_says_what_is_wrong_with_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let path = file.to_str().unwrap();
    let fails = |arguments: &[&str], words: &str| {
        let output = command(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty() && !said.contains(SECRET));
    };
    fails(&["token", "alice", "--secret-file", path], "there is no such file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fails(&["token", "alice", "--secret-file", path], "is empty");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fails(&["token", "alice", "--secret-file", path], "chmod 600");
    fails(&["serve", "--listen", "127.0.0.1:0", "--secret-file", path], "chmod 600");
    fails(&["serve", "--listen", "127.0.0.1:0", "--operator-token-file", path], "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fails(&["token", "", "--secret-file", path], "a user has a name");
    fails(&["token", "alice", "--ttl", "soon", "--secret-file", path], "is no time");

    let output = command(&["token", "alice", "--ttl", "7d", "--secret-file", path]);
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap();
    let instance = Instance::start(settings("a"), &Shared::in_process()).unwrap();
    let mut alice = Client::connect(instance.address(), &json!({ "token": token.trim() })).unwrap();
    assert_eq!(alice.ask("who", &json!(null))["userId"], "alice");
}
