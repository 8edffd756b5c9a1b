use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::sync_channel;

use super::*;

/// A folder with the file `config.toml`, and time that passes when it is told to.
struct Scene {
    folder: tempfile::TempDir,
    watch: Watch,
    now: Duration,
}

impl Scene {
    /// The file holds "first", and that is known.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), "first").unwrap();
        let mut scene = Scene { folder, watch: Watch::new(Digest::of(b"first")), now: Duration::ZERO };
        scene.expect(8, &[]);
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).unwrap();
    }

    /// Looks so often: what followed.
    fn expect(&mut self, looks: u32, expected: &[&str]) {
        let mut events = Vec::new();
        for _ in 0..looks {
            let event = look(&self.at("config.toml"), &mut self.watch, self.now);
            self.now += EACH;
            events.extend(event.map(|event| match event {
                Event::Changed(content) => String::from_utf8(content).unwrap(),
                Event::Lost(why) => why,
                Event::Back => "back".to_owned(),
            }));
        }
        assert_eq!(events, expected);
    }
}

#[test]
fn a_file_renamed_over_it() {
    let mut scene = Scene::new();
    for content in ["second", "third", "first"] {
        scene.write("new", content);
        fs::rename(scene.at("new"), scene.at("config.toml")).unwrap();
        scene.expect(4, &[]);
        scene.expect(8, &[content]);
    }
}

#[test]
fn a_symlink_swapped_on_the_way() {
    // As the kubelet does: config.toml -> ..data/config.toml, ..data -> ..1, and only ..data is swapped.
    let mut scene = Scene::new();
    for (folder, content) in [("..1", "first"), ("..2", "second")] {
        fs::create_dir(scene.at(folder)).unwrap();
        scene.write(&format!("{folder}/config.toml"), content);
    }
    symlink("..1", scene.at("..data")).unwrap();
    fs::remove_file(scene.at("config.toml")).unwrap();
    symlink("..data/config.toml", scene.at("config.toml")).unwrap();
    scene.expect(8, &[]);
    symlink("..2", scene.at("..tmp")).unwrap();
    fs::rename(scene.at("..tmp"), scene.at("..data")).unwrap();
    fs::remove_dir_all(scene.at("..1")).unwrap();
    scene.expect(8, &["second"]);
}

#[test]
fn written_in_place_and_in_pieces() {
    let mut scene = Scene::new();
    // Of the same length, perhaps within one tick of the clock.
    scene.write("config.toml", "other");
    scene.expect(1, &[]);
    scene.write("config.toml", "fifth");
    scene.expect(8, &["fifth"]);
    // Emptied, then bit by bit.
    for piece in ["", "s", "si", "sixth"] {
        scene.write("config.toml", piece);
        scene.expect(3, &[]);
    }
    scene.expect(8, &["sixth"]);
    // Cut off and left so: whether that is one's will is for others to say.
    scene.write("config.toml", "six");
    scene.expect(8, &["six"]);
}

#[test]
fn touched_or_written_with_the_same() {
    let mut scene = Scene::new();
    scene.write("config.toml", "first");
    scene.expect(8, &[]);
    scene.write("new", "first");
    fs::rename(scene.at("new"), scene.at("config.toml")).unwrap();
    scene.expect(8, &[]);
}

#[test]
fn gone_and_unreadable() {
    let mut scene = Scene::new();
    let gone = "No such file or directory (os error 2)";
    fs::remove_file(scene.at("config.toml")).unwrap();
    scene.expect(4, &[]);
    scene.expect(40, &[gone]);
    scene.write("config.toml", "first");
    scene.expect(8, &["back"]);
    // What cannot be a configuration. Nobody writes to the pipe: a look must not wait.
    fs::remove_file(scene.at("config.toml")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, scene.at("config.toml"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
    scene.expect(8, &["it is not a regular file"]);
    fs::remove_file(scene.at("config.toml")).unwrap();
    fs::create_dir(scene.at("config.toml")).unwrap();
    scene.expect(8, &[]);
    fs::remove_dir(scene.at("config.toml")).unwrap();
    symlink("config.toml", scene.at("config.toml")).unwrap();
    scene.expect(8, &[]);
    fs::remove_file(scene.at("config.toml")).unwrap();
    scene.write("config.toml", "second");
    scene.expect(8, &["back", "second"]);
}

#[test]
fn what_is_too_large_is_cut_off_behind_the_limit() {
    let mut scene = Scene::new();
    let limit = usize::try_from(config::LARGEST).unwrap();
    fs::write(scene.at("config.toml"), vec![b'#'; limit + 1000]).unwrap();
    let mut events = (0..8).filter_map(|_| {
        scene.now += EACH;
        look(&scene.at("config.toml"), &mut scene.watch, scene.now)
    });
    let Some(Event::Changed(content)) = events.next() else { panic!("nothing changed") };
    assert_eq!(content.len(), limit + 1);
    assert!(config::parse_bytes(content, "x").unwrap_err().to_string().contains("larger than 4 MiB"));
}

#[test]
fn the_thread_hands_on_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, "second").unwrap();
    let (tell, hear) = sync_channel(4);
    let watcher = watch(path, Digest::of(b"first"), move |content| tell.send(content).unwrap()).unwrap();
    assert_eq!(hear.recv_timeout(Duration::from_secs(30)).unwrap(), b"second");
    watcher.stop();
    assert!(hear.recv().is_err(), "nobody holds the other end");
}
