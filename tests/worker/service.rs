//! A worker as a service of systemd: it says when it is ready, that it lives, and that it ends.

use crate::support;

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use support::scene::Scene;
use support::{PATIENCE, Worker};

/// systemd's end.
struct Manager {
    socket: UnixDatagram,
    seen: Vec<String>,
}

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let seen = Vec::new();
        Self { socket, seen }
    }

    /// Waits for a notification that has this line.
    fn wait_for(&mut self, line: &str) {
        while !self.seen.iter().any(|text| text.lines().any(|l| l == line)) {
            let mut buffer = [0; 4_096];
            let read = self.socket.recv(&mut buffer);
            let read = read.unwrap_or_else(|problem| {
                panic!("no {line}: {problem}; there were {:?}", self.seen)
            });
            self.seen
                .push(String::from_utf8_lossy(&buffer[..read]).into_owned());
        }
        self.seen.clear();
    }
}

#[test]
fn systemd_learns_that_the_worker_is_ready_lives_and_ends() {
    let scene = Scene::new("service");
    let path = scene.project.folder().join("notify");
    let mut manager = Manager::listen(&path);
    let variables = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "400000"),
    ];
    let settings = ["-y", &scene.settings];
    let mut worker = Worker::start_with(&scene.project, 1, &settings, &variables);
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    worker.call(dagster_taskiq_tui::domain::Command::Pause);
    manager.wait_for("STATUS=worker is paused");
    assert_eq!(worker.finish(), 0, "{}", worker.process.output());
    manager.wait_for("STOPPING=1");
}

#[test]
fn a_manager_that_reads_nothing_holds_nothing_up() {
    let scene = Scene::new("service-deaf");
    let path = scene.project.folder().join("notify");
    let manager = Manager::listen(&path);
    let variables = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        // More notes than the socket takes, before the worker is ready.
        ("WATCHDOG_USEC", "2000"),
    ];
    let settings = ["-y", &scene.settings];
    let mut worker = Worker::start_with(&scene.project, 1, &settings, &variables);
    for _ in 0..100 {
        let reply = worker.call(dagster_taskiq_tui::domain::Command::Pause);
        assert!(reply.problem().is_none(), "{reply:?}");
    }
    assert_eq!(worker.finish(), 0, "{}", worker.process.output());
    drop(manager);
}
