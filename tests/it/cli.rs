//! What the program prints: `tests/cli/*.trycmd`, each a command and its exact output.

#[test]
fn prints_what_it_should() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
