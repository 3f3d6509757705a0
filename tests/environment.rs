//! The managed Python environment, and what is in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use dagster_taskiq_tui::environment::managed;

#[test]
fn the_environment_has_what_the_demo_and_the_tests_need_and_is_made_once() {
    let first = support::environment();
    let mut said = Vec::new();
    let second = managed::ensure(&mut |text| said.push(text.to_owned())).unwrap();
    assert_eq!(&second, first);
    assert!(said.is_empty(), "made again: {said:?}");

    let imports = "import dagster, dagster_webserver, boto3, taskiq, pytest, dagster_taskiq";
    let mut command = support::python_command();
    let output = command.args(["-c", imports]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn its_scripts_start_from_where_the_environment_is_now() {
    let script = support::environment().bin.join("pytest");
    let output = Command::new(script).arg("--version").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
