//! `bench` measures and reports. The numbers themselves depend on the machine and are not checked.

use serde_json::Value;

use crate::program::run;

fn bench(args: &[&str]) -> Value {
    let output = run(&[args, &["bench", "--seconds", "0.2", "--connections", "4", "--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(progress.contains("plain chat") && progress.contains("streamed"), "{progress}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn cases(report: &Value) -> &[Value] {
    let cases = report["cases"].as_array().unwrap();
    let names: Vec<_> = cases.iter().map(|case| case["case"].as_str().unwrap()).collect();
    assert_eq!(names, ["plain chat", "limit", "100 KB prompt", "streamed"]);
    cases
}

#[test]
fn every_case_reports_positive_numbers() {
    let directory = crate::program::Directory::new();
    let port_file = directory.file("port");
    let settings = ["--workers", "1", "--port", "80", "--port-file", &port_file, "--api-key", "a", "--models", "m"];
    let report = bench(&settings);
    assert_eq!((&report["workers"], &report["connections"]), (&1.into(), &4.into()));
    for case in cases(&report) {
        for (name, value) in case.as_object().unwrap() {
            assert!(name == "case" || value.as_f64().is_some_and(|value| value > 0.0), "{name} of {case}");
        }
        assert!(case["p50_ms"].as_f64() <= case["p99_ms"].as_f64(), "{case}");
        assert_eq!(case["case"] == "streamed", case.get("frames_per_second").is_some(), "{case}");
        assert_eq!(cfg!(target_os = "linux"), case.get("server_cpu_us_per_request").is_some(), "{case}");
    }
    assert!(report["in_words"].as_str().unwrap().starts_with("Above "), "{report}");
    assert!(!std::path::Path::new(&port_file).exists(), "`bench` writes no port file");
}

#[test]
fn settings_apply_and_errors_are_counted() {
    let report = bench(&["--fault", "503%20", "--fault", "empty%20", "--workers", "1"]);
    for case in cases(&report) {
        assert!(case["errors"]["503"].as_u64() > Some(0), "{case}");
        assert!(case["errors"]["broken"].as_u64() > Some(0), "{case}");
    }
    assert!(report["in_words"].as_str().unwrap().starts_with("With these settings"), "{report}");

    // No response arrives before the measurement ends.
    let report = bench(&["--ttft", "60s"]);
    assert!(cases(&report).iter().all(|case| case["requests"] == 0), "{report}");
}

#[test]
fn impossible_options_are_refused() {
    for args in [["--seconds", "0"], ["--seconds", "inf"], ["--connections", "0"], ["--connections", "70000"]] {
        assert_eq!(run(&[&["bench"][..], &args].concat()).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(run(&["bench", "--profile", "nobody"]).status.code(), Some(2));
}
