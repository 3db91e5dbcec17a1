//! The program's output: `tests/cli/*.trycmd` holds commands with their exact output.

use fake_openai::Settings;

#[test]
fn the_program_prints_the_recorded_output() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}

#[test]
fn the_printed_configuration_gives_the_same_settings_when_read() {
    use crate::program::{Directory, run};
    let directory = Directory::new();
    let print = |path: &str| {
        let output = run(&["--config", path, "--print-config"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let settings = |text: &str| {
        let settings: Settings = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        settings.set_values()
    };
    let first = print("tests/cli/config.in/values.yaml");
    std::fs::write(directory.path().join("printed.yaml"), &first).unwrap();
    let second = print(&directory.file("printed.yaml"));
    assert_eq!(settings(&first), settings(&second));
    for value in ["it's: #1", "日本語\nsecond line", "say \"no\" # now", "429x2~retry-after=2s", "gpt-*"] {
        let escaped = serde_json::Value::from(value).to_string();
        let given = serde_json::Value::Object(settings(&second)).to_string();
        assert!(given.contains(&escaped), "{value} is in {given}");
    }
    assert!(!first.contains("secret"), "{first}");
    let relative = ["--fixtures", "fixtures", "--print-config"];
    assert!(String::from_utf8(run(&relative).stdout).unwrap().contains("fixtures: /"), "the path is absolute");
}
