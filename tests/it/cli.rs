//! The program's output: `tests/cli/*.trycmd` holds commands with their exact output.

#[test]
fn the_program_prints_the_recorded_output() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
