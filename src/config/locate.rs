//! Where a document says something: for those who must tell a person to change it there.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::raw;

/// The line, from 1, in which `text` gives the state of this instance; `None`: it does not.
pub fn state_of(text: &str, upstream: &str, instance: &str) -> Option<usize> {
    let (tree, _) = raw::parse(text);
    let upstream = table(tree.get("upstream")?)?.get(upstream).and_then(table)?;
    let DeValue::Array(instances) = upstream.get("instances")?.get_ref() else { return None };
    let is = |entry: &&DeTable<'_>| {
        let called = entry.get("name").or_else(|| entry.get("address"));
        called.and_then(|name| name.get_ref().as_str()) == Some(instance)
    };
    let state = instances.iter().filter_map(table).find(is)?.get("state")?;
    Some(1 + text[..state.span().start].matches('\n').count())
}

/// The `[admin] socket` of `text`, whatever else is wrong with it: a path, `off` or `auto`; `None`: it has none.
pub fn admin_socket(text: &str) -> Option<&str> {
    let (tree, _) = raw::parse(text);
    let span = table(tree.get("admin")?)?.get("socket")?.span();
    // Without escapes: a path that needs them is found by --socket.
    Some(text.get(span)?.trim_matches(['"', '\'']))
}

/// Where a listener or an upstream of `text` names the file that `why` complains of, in the words `PATH: what is wrong`.
pub(super) fn file_named_in(text: &str, why: &str) -> Option<Range<usize>> {
    let (tree, _) = raw::parse(text);
    let mut named = Vec::new();
    ["listen", "upstream"].iter().filter_map(|part| tree.get(*part)).for_each(|part| files(part, &mut named));
    let blamed = named.into_iter().filter(|(path, _)| why.contains(&format!("{path}: ")));
    blamed.max_by_key(|(path, _)| path.len()).map(|(_, span)| span)
}

/// Every path in `value`, and where it is.
fn files<'t>(value: &'t Spanned<DeValue<'_>>, found: &mut Vec<(&'t str, Range<usize>)>) {
    match value.get_ref() {
        DeValue::String(text) if text.starts_with('/') => found.push((text, value.span())),
        DeValue::Array(list) => list.iter().for_each(|value| files(value, found)),
        DeValue::Table(table) => table.iter().for_each(|(_, value)| files(value, found)),
        _ => {}
    }
}

fn table<'t, 'd>(value: &'t Spanned<DeValue<'d>>) -> Option<&'t DeTable<'d>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_state() {
        let text = "listen = \":80\"\n[upstream.app]\ninstances = [\n  \"a:1\",\n  { address = \"b:2\", state = \"drain\" },\n  \
                    { address = \"c:3\", name = \"blue\",\n    state = \"cordon\" },\n]\n[upstream.x]\ninstances = \"a\"\n";
        let text = text.replace(",\n    state", ", state");
        let check = |upstream, instance, line| assert_eq!(state_of(&text, upstream, instance), line);
        check("app", "b:2", Some(5));
        check("app", "blue", Some(6));
        check("app", "c:3", None);
        check("app", "a:1", None);
        check("x", "a", None);
        check("none", "a", None);
        assert_eq!(state_of("][", "app", "b:2"), None);
    }

    #[test]
    fn the_file_that_is_complained_of() {
        let text = "[[listen]]\ntls = [{ cert = \"/a\" }, { cert = \"/a/b\", key = \"/c\" }]\n[upstream.x.tls]\nca = \"/d\"\n";
        let check = |why, expected: Option<&str>| {
            let span = file_named_in(text, why);
            assert_eq!(span.as_ref().map(|span| &text[span.clone()]), expected, "{why}");
        };
        check("/a/b: no such file", Some("\"/a/b\""));
        check("/a: no such file", Some("\"/a\""));
        check("upstream x: tls: /d: no such file", Some("\"/d\""));
        check("/e: no such file", None);
        check("the disk is full", None);
        assert_eq!(file_named_in("][", "/a: x"), None);
    }

    #[test]
    fn the_admin_socket_of_a_broken_file() {
        let check = |text, path| assert_eq!(admin_socket(text), path, "{text}");
        check("[admin]\nsocket = \"/run/a.sock\"\n", Some("/run/a.sock"));
        check(
            "listen = 80 80\n[admin]\nmode = 3\nsocket = '/run/a.sock'\n[upstream.x]\n",
            Some("/run/a.sock"),
        );
        check("admin = { socket = \"/x\" }", Some("/x"));
        check("[admin]\nsocket = \"auto\"\n", Some("auto"));
        check("[admin]\nsocket = \"off\"\n", Some("off"));
        check("[admin]\n", None);
        check("", None);
    }
}
