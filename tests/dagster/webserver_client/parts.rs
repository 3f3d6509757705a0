//! Dagster itself against a real webserver: its parts, and turning them on and off.

use dagster_taskiq_tui::domain::{DagsterPart, Health, PartKind};

use super::client;
use super::run_verbs::Shell;

async fn part(name: &str) -> DagsterPart {
    let found = client().await.parts().await.unwrap();
    assert_eq!(found.problems, [""; 0]);
    let mut parts = found.parts.into_iter();
    parts.find(|part| part.name == name).unwrap()
}

#[tokio::test]
async fn the_parts_of_dagster_are_told_and_a_schedule_and_a_sensor_are_turned_on_and_off() {
    let location = part("definitions.py").await;
    assert_eq!(
        (location.kind, location.health),
        (PartKind::Location, Health::Good)
    );
    let shell = Shell::new().await;
    for (name, detail) in [("every_night", "0 3 * * * UTC"), ("new_orders", "standard")] {
        let off = part(name).await;
        assert_eq!((off.state.as_str(), off.health), ("stopped", Health::Off));
        assert_eq!(off.detail, detail);
        let on = shell.json(&format!("dagster start {name}")).await;
        assert_eq!(on[0]["on"], true);
        assert_eq!(part(name).await.state, "running");
        let listed = shell.json("dagster status").await;
        let mut listed = listed.iter();
        let listed = listed.find(|part| part["name"] == name).unwrap();
        assert_eq!(listed["state"], "running");
        if name == "every_night" {
            // No daemon runs here, and one is needed now.
            let daemon = part("SCHEDULER").await;
            assert_eq!(daemon.health, Health::Bad);
            assert!(daemon.error.unwrap().contains("start dagster-daemon"));
        }
        shell.json(&format!("dagster stop {name}")).await;
        assert_eq!(part(name).await.state, "stopped");
    }
    let unknown = shell.sentence("dagster start every_nigh").await;
    assert!(unknown.contains("the nearest is every_night"), "{unknown}");
    let refused = shell
        .sentence("dagster start every_night --read-only")
        .await;
    assert!(refused.contains("dagster start was refused"), "{refused}");
    let audit = shell.audit();
    let verbs: Vec<&str> = audit
        .iter()
        .filter_map(|entry| entry["verb"].as_str())
        .collect();
    assert_eq!(
        verbs,
        [
            "dagster start",
            "dagster stop",
            "dagster start",
            "dagster stop",
            "dagster start"
        ]
    );
}
