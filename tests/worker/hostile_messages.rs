//! What a message can and cannot make a worker do, its sender being hostile: one worker, one queue,
//! and bodies that name other code, another instance, or no names at all.

use crate::http;
use crate::support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::scene::{SETTINGS, Scene};
use support::side::body;
use support::{PATIENCE, wait_until};

/// A scene and the file that hostile code would make.
struct Attack {
    scene: Scene,
    mark: PathBuf,
}

impl Attack {
    fn new(queue: &str, settings: &str) -> Self {
        let scene = Scene::with(queue, &format!("{SETTINGS}{settings}"));
        let mark = scene.project.folder().join("MARK");
        Self { scene, mark }
    }

    /// Python code that makes the mark when it is imported.
    fn hostile_file(&self) -> PathBuf {
        let file = self.scene.project.folder().join("hostile.py");
        let text = format!(
            "open('{}', 'w').close()\ndefs = None\n",
            self.mark.display()
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A code pointer that runs a shell command when it is loaded.
    fn shell(&self) -> Value {
        json!({
            "__class__": "CustomPointer",
            "reconstructor_pointer": {
                "__class__": "ModuleCodePointer", "module": "os", "fn_name": "system",
                "working_directory": null,
            },
            "reconstructable_args": [format!("touch {}", self.mark.display())],
            "reconstructable_kwargs": [],
        })
    }

    fn file_pointer(file: &Path) -> Value {
        json!({
            "__class__": "FileCodePointer", "python_file": file, "fn_name": "defs",
            "working_directory": file.parent(),
        })
    }

    /// An instance whose storage is a class of hostile code.
    fn foreign_instance(&self) -> Value {
        let folder = self.hostile_file();
        let storage = json!({
            "__class__": "ConfigurableClassData", "module_name": "hostile",
            "class_name": "Storage", "config_yaml": "{}\n",
        });
        json!({
            "__class__": "InstanceRef",
            "local_artifact_storage_data": {
                "__class__": "ConfigurableClassData",
                "module_name": "dagster._core.storage.root", "class_name": "LocalArtifactStorage",
                "config_yaml": format!("base_dir: {}\n", folder.parent().unwrap().display()),
            },
            "compute_logs_data": storage, "scheduler_data": storage,
            "run_coordinator_data": storage, "run_launcher_data": storage, "settings": {},
            "run_storage_data": storage, "event_storage_data": storage,
            "schedule_storage_data": storage, "custom_instance_class_data": storage,
            "storage_data": storage, "secrets_loader_data": null,
            "defs_state_storage_data": null,
        })
    }

    /// A step's message, changed.
    fn step(&mut self, run: &str, step: &str, change: impl Fn(&mut Value, &mut Value)) -> String {
        let mut message: Value = serde_json::from_str(&self.scene.side.step(run, step, 5)).unwrap();
        let mut packed = message["kwargs"]["execute_step_args_packed"].take();
        change(&mut message, &mut packed);
        message["kwargs"]["execute_step_args_packed"] = packed;
        message.to_string()
    }

    /// Waits until so many messages are dead letters; their reasons.
    fn reasons(&mut self, count: usize) -> Vec<String> {
        let queue = format!("{}-dead", self.scene.project.queue_url());
        let endpoint = self.scene.broker.endpoint.clone();
        let counts = json!({"endpoint": endpoint, "url": queue});
        wait_until("the messages are dead letters", PATIENCE, || {
            let waiting = self.scene.side.ask("counts", &counts)[0].as_u64().unwrap();
            (waiting == count as u64).then_some(())
        });
        let found = self.scene.side.ask("receive", &counts);
        let reason = |one: &Value| one["attributes"]["dtq_reason"].as_str().unwrap().to_owned();
        found.as_array().unwrap().iter().map(reason).collect()
    }

    fn assert_nothing_ran(&self) {
        assert!(!self.mark.exists(), "hostile code was run");
    }
}

fn pointer(packed: &mut Value) -> &mut Value {
    &mut packed["pipeline_origin"]["repository_origin"]["code_pointer"]
}

#[test]
fn code_that_a_message_names_is_compared_with_its_run_s_and_not_loaded() {
    let mut attack = Attack::new("foreign", "");
    let run = attack.scene.side.make_run("many");
    let hostile = attack.hostile_file();
    let foreign = attack.foreign_instance();

    let other_file = attack.step(&run, "low_1", |_, packed| {
        *pointer(packed) = Attack::file_pointer(&hostile);
    });
    let other_instance = attack.step(&run, "low_2", |_, packed| {
        packed["instance_ref"] = foreign.clone();
    });
    let other_job = attack.step(&run, "low_3", |_, packed| {
        packed["pipeline_origin"]["pipeline_name"] = "another".into();
    });
    for step in ["low_0", "low_1", "low_2", "low_3"] {
        attack.scene.side.open_gate(&run, Some(step));
    }
    let as_it_is = attack.scene.side.step(&run, "low_0", 5);
    let bodies = [as_it_is, other_file, other_instance, other_job];
    attack.scene.side.send(&bodies);
    let mut worker = attack.scene.worker(2, &[]);
    attack.scene.side.wait_empty();

    attack.assert_nothing_ran();
    let side = &mut attack.scene.side;
    let told = |side: &mut support::side::Side, step: &str| {
        let events = side.events(&run, Some(step));
        let first = events.iter().find(|event| event["type"] == "ENGINE_EVENT");
        first.unwrap()["message"].as_str().unwrap().to_owned()
    };
    for (step, words) in [
        ("low_1", "hostile.py"),
        ("low_2", "instance uses"),
        ("low_3", "the job another"),
    ] {
        assert_eq!(
            side.life(&run, step),
            ["STEP_START", "STEP_SUCCESS"],
            "{step}"
        );
        let message = told(side, step);
        assert!(
            message.contains(words) && message.contains("not obeyed"),
            "{message}"
        );
        let line = worker.process.wait_for_line(words);
        assert!(line.contains("not obeyed"), "{line}");
    }
    let message = told(side, "low_0");
    assert!(!message.contains("not obeyed"), "{message}");
}

#[test]
fn a_custom_pointer_of_a_message_is_refused_and_a_run_that_is_not_there_loads_nothing() {
    for settings in ["", "trust_message_instance: true\n"] {
        let mut attack = Attack::new("custom", settings);
        let run = attack.scene.side.make_run("many");
        let shell = attack.shell();
        let hostile = attack.hostile_file();
        let of_a_step = attack.step(&run, "low_0", |_, packed| *pointer(packed) = shell.clone());
        let of_no_run = attack.step(&run, "low_1", |_, packed| {
            packed["pipeline_run_id"] = uuid::Uuid::new_v4().to_string().into();
            *pointer(packed) = shell.clone();
        });
        let file_of_no_run = attack.step(&run, "low_1", |_, packed| {
            packed["pipeline_run_id"] = uuid::Uuid::new_v4().to_string().into();
            *pointer(packed) = Attack::file_pointer(&hostile);
        });
        let kwargs = attack
            .scene
            .side
            .ask("run_message", &json!({"run_id": run}));
        let mut kwargs = kwargs.clone();
        *pointer(&mut kwargs["execute_job_args_packed"]) = shell.clone();
        let of_a_run = body("execute_job", &kwargs, &json!({"dtq": "1"}));
        let bodies = [of_a_step, of_no_run, file_of_no_run, of_a_run];
        attack.scene.side.send(&bodies);
        let worker = attack.scene.worker(2, &[]);

        let reasons = attack.reasons(bodies.len());
        attack.assert_nothing_ran();
        let with = |words: &str| reasons.iter().filter(|r| r.contains(words)).count();
        assert_eq!(with("CustomPointer to os:system"), 2, "{reasons:#?}");
        assert_eq!(
            with("does not exist in this worker's instance"),
            2,
            "{reasons:#?}"
        );
        let life = attack.scene.side.life(&run, "low_0");
        assert_eq!(life, ["STEP_FAILURE"], "whoever waits for it has its end");
        let output = worker.process.output();
        assert!(
            !output.contains("loaded in"),
            "nothing was loaded:\n{output}"
        );
    }
}

#[test]
fn the_instance_of_a_message_is_opened_only_where_that_is_configured() {
    for (trust, ends) in [(false, 0), (true, 1)] {
        let settings = format!("trust_message_instance: {trust}\n");
        let mut attack = Attack::new("instances", &settings);
        let jobs = std::fs::read_to_string(support::side::jobs()).unwrap();
        let theirs = support::Project::new(&attack.scene.broker, "instances", &jobs);
        let mut sender = support::side::Side::start(&theirs);
        let run = sender.make_run("many");
        // The step runs with the environment of the worker, and so leaves its traces there.
        attack.scene.side.open_gate(&run, Some("low_0"));
        let step = sender.step(&run, "low_0", 5);
        sender.send(&[step]);
        let _worker = attack.scene.worker(1, &[]);
        if trust {
            sender.wait_empty();
        } else {
            let reasons = attack.reasons(1);
            assert!(reasons[0].contains("does not exist"), "{reasons:?}");
            assert!(
                reasons[0].contains("another storage configuration"),
                "{reasons:?}"
            );
        }
        let life = sender.life(&run, "low_0");
        assert_eq!(
            life.iter().filter(|event| *event == "STEP_SUCCESS").count(),
            ends
        );
        assert_eq!(attack.scene.side.life(&run, "low_0"), [""; 0]);
    }
}

/// Percent-encodes everything.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "%{byte:02X}");
        all
    })
}

#[test]
fn a_web_page_cannot_have_a_worker_run_a_shell_command() {
    let mut attack = Attack::new("page", "");
    let run = attack.scene.side.make_run("many");
    let shell = attack.shell();
    let message = attack.step(&run, "low_0", |_, packed| *pointer(packed) = shell.clone());
    let mut worker = attack.scene.worker(1, &[]);
    let address = attack.scene.broker.endpoint.replace("http://", "");
    let url = attack.scene.project.queue_url().to_owned();
    let path = url
        .trim_start_matches("http://")
        .trim_start_matches(&address);
    let form = format!("Action=SendMessage&MessageBody={}", encoded(&message));
    let json = json!({"QueueUrl": url, "MessageBody": message}).to_string();
    let host = format!("Host: {address}");
    let page = ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"];
    let send = |line: &str, headers: &[&str], body: &str| {
        let headers: Vec<String> = headers.iter().copied().map(str::to_owned).collect();
        http::send_raw(&address, line, &headers, body).status
    };
    let post = format!("POST {path}");
    let plain = "Content-Type: text/plain";
    let target = "X-Amz-Target: AmazonSQS.SendMessage";
    let rebound = "Host: evil.example:9324";
    for (what, status) in [
        (
            "a form",
            send(&post, &[&host, page[0], page[1], plain], &form),
        ),
        (
            "an image",
            send(&format!("GET {path}?{form}"), &[&host, page[1]], ""),
        ),
        (
            "a bare link",
            send(&format!("GET {path}?{form}"), &[&host], ""),
        ),
        (
            "JSON",
            send("POST /", &[&host, page[0], page[1], target], &json),
        ),
        ("rebinding", send(&post, &[rebound, plain], &form)),
    ] {
        assert_eq!(status, 403, "{what}");
    }
    assert_eq!(attack.scene.side.counts(), (0, 0), "nothing was sent");

    // The same by a program: it is sent, and refused by the worker.
    assert_eq!(send(&post, &[&host, plain], &form), 200);
    let reasons = attack.reasons(1);
    assert!(
        reasons[0].contains("CustomPointer to os:system"),
        "{reasons:?}"
    );
    attack.assert_nothing_ran();
    assert_eq!(worker.finish(), 0);
    attack.assert_nothing_ran();
}

#[test]
fn names_that_lead_elsewhere_and_bodies_that_are_no_message_are_dead_letters() {
    let mut attack = Attack::new("names", "");
    let run = attack.scene.side.make_run("many");
    let outside = "../../../outside";
    let handle = json!({"__class__": "StepOutputHandle", "mapping_key": outside,
        "output_name": "result", "step_key": "low_0"});
    let bodies = vec![
        "cos\nsystem\n(S'touch MARK'\ntR.".to_owned(),
        "gASVKAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjA10b3VjaCBNQVJLlIWUUpQu".to_owned(),
        "[".repeat(100_000),
        attack.step(&run, "low_1", |message, _| {
            message["task_id"] = "results/other".into();
        }),
        attack.step(&run, "low_2", |_, packed| {
            packed["pipeline_run_id"] = outside.into();
        }),
        attack.step(&run, "low_3", |_, packed| {
            packed["step_keys_to_execute"] = json!([outside]);
        }),
        attack.step(&run, "low_4", |_, packed| {
            packed["known_state"]["ready_outputs"] = json!({"__set__": [handle]});
        }),
        attack.step(&run, "low_5", |_, packed| {
            packed["known_state"]["parent_state"] = json!({"__class__": "PastExecutionState",
                "parent_run_id": outside, "parent_state": null, "produced_outputs": {"__set__": []},
                "run_id": outside});
        }),
    ];
    attack.scene.side.send(&bodies);
    let _worker = attack.scene.worker(2, &[]);
    let reasons = attack.reasons(bodies.len());
    attack.assert_nothing_ran();
    for words in [
        "not a Taskiq message",
        "recursion limit",
        "task_id is not a UUID",
        "run id is not",
        "step key is not",
        "is not the name of a step or output",
    ] {
        assert!(
            reasons.iter().any(|r| r.contains(words)),
            "{words}: {reasons:#?}"
        );
    }
    let home = attack.scene.project.home();
    for folder in [
        &*home,
        home.parent().unwrap(),
        home.parent().unwrap().parent().unwrap(),
    ] {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            assert!(!name.starts_with("outside"), "{}", entry.path().display());
        }
    }
}

#[test]
fn a_worker_loads_only_what_allow_locations_names_and_says_why_not() {
    let mut attack = Attack::new("allowed", "allow_locations: [etl.defs, /srv/etl/**]\n");
    let run = attack.scene.side.make_run("many");
    let step = attack.scene.side.step(&run, "low_0", 5);
    let launched = attack.scene.side.launch("many");
    attack.scene.side.send(&[step]);
    let worker = attack.scene.worker(1, &[]);
    attack.scene.side.wait_status(&launched, "FAILURE");
    let reasons = attack.reasons(1);
    assert!(reasons[0].contains("allow_locations"), "{reasons:?}");
    let life = attack.scene.side.life(&run, "low_0");
    assert_eq!(life, ["STEP_FAILURE"]);
    let why = attack.scene.side.events(&launched, None);
    let words = |event: &Value| {
        event["message"]
            .as_str()
            .unwrap()
            .contains("allow_locations")
    };
    assert!(why.iter().any(words), "{why:#?}");
    drop(worker);

    let jobs = support::side::jobs();
    let settings = format!(
        "{SETTINGS}allow_locations: ['{}/*.py']\n",
        jobs.parent().unwrap().display()
    );
    let settings = attack.scene.project.yaml(&settings);
    let step = attack.scene.side.step(&run, "low_1", 5);
    attack.scene.side.open_gate(&run, Some("low_1"));
    attack.scene.side.send(&[step]);
    let _worker = support::Worker::start(&attack.scene.project, 1, &["-y", &settings]);
    attack.scene.side.wait_empty();
    let life = attack.scene.side.life(&run, "low_1");
    assert_eq!(life, ["STEP_START", "STEP_SUCCESS"]);
}

#[test]
fn a_coloured_exception_at_import_reaches_the_dead_letter_queue_cleaned_and_cut() {
    let mut attack = Attack::new("coloured", "");
    let file = attack.scene.project.folder().join("coloured.py");
    let text = "raise ValueError('\\x1b[31mred\\x1b[0m \\x08' + 'x' * 5000)\n";
    std::fs::write(&file, text).unwrap();
    let arguments = json!({"job": "steps", "status": "STARTED", "load": false, "file": file});
    let run = attack.scene.side.ask("make_run", &arguments)["run_id"].clone();
    let step = attack.scene.side.step(run.as_str().unwrap(), "low_0", 5);
    attack.scene.side.send(&[step]);
    let _worker = attack.scene.worker(1, &[]);
    let reason = attack.reasons(1).remove(0);
    assert!(reason.contains("ValueError: red x"), "{reason}");
    assert!(
        !reason.contains(char::is_control) && reason.len() <= 1024,
        "{reason:?}"
    );
}
