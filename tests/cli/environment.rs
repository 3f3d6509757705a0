//! The managed Python environment, and what is in it.

use crate::support;

use std::process::Command;

use dagster_taskiq_tui::environment::managed;

#[test]
fn the_environment_has_what_the_demo_and_the_tests_need_and_is_made_once() {
    let first = managed::ensure(&mut |text| eprintln!("{text}")).unwrap();
    let mut said = Vec::new();
    let second = managed::ensure(&mut |text| said.push(text.to_owned())).unwrap();
    assert_eq!(second, first);
    assert!(said.is_empty(), "made again: {said:?}");

    let demo = "import dagster, dagster_webserver, boto3, dagster_taskiq";
    imports(
        Command::new(first.python).env("PYTHONPATH", support::library()),
        demo,
    );
    let tests =
        "import dagster_webserver, dagster_postgres, dagster_mysql, taskiq_aio_sqs, moto, pytest";
    imports(&mut support::python_command(), tests);
}

fn imports(python: &mut Command, statement: &str) {
    let output = python.args(["-c", statement]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn its_scripts_start_from_where_the_environment_is_now() {
    let script = support::environment().bin.join("pytest");
    let output = Command::new(script).arg("--version").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
