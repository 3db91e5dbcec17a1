//! The README and the pages under `docs/`: what is generated, and what a reader may try.
//!
//! After an intended change of the program's output, `SNAPSHOTS=overwrite cargo test --test it -- docs::` rewrites the
//! generated blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use crate::program::{Directory, run};

/// Commands that have a help of their own.
const COMMANDS: [&str; 10] =
    ["routes", "faults", "profiles", "check", "eject", "tokenizer", "healthcheck", "report", "verify", "bench"];

/// Flags that help does not list: hidden aliases, and flags of other programs.
const OTHER_FLAGS: [(&str, &[&str]); 17] = [
    ("fake-openai", &["--latency", "--delay", "--log-requests", "--verbose"]),
    ("cargo", &["--release", "--path", "--test", "--bench", "--bin", "--profile", "--all-targets", "--all", "--check"]),
    ("cargo install", &["--locked", "--features"]),
    ("cargo bench --bench soak", &["--requests", "--only"]),
    ("docker", &["--rm"]),
    ("curl", &["--data-urlencode", "--json", "--max-time"]),
    ("litellm", &["--config", "--port"]),
    ("npm", &["--save-dev"]),
    ("packaging/build.sh", &["--binary", "--out"]),
    ("pip", &["--upgrade"]),
    (
        "aiperf profile",
        &[
            "--url",
            "--endpoint-type",
            "--streaming",
            "--tokenizer",
            "--isl",
            "--osl",
            "--request-count",
            "--concurrency",
        ],
    ),
    ("guidellm run", &["--backend", "--constraint", "--data"]),
    (
        "genai-bench benchmark",
        &[
            "--api-backend",
            "--api-base",
            "--api-model-name",
            "--model-tokenizer",
            "--task",
            "--traffic-scenario",
            "--num-concurrency",
            "--max-requests-per-run",
            "--max-time-per-run",
        ],
    ),
    (
        "evalscope perf",
        &[
            "--api",
            "--stream",
            "--tokenizer-path",
            "--dataset",
            "--min-prompt-length",
            "--max-prompt-length",
            "--max-tokens",
            "--parallel",
            "--number",
        ],
    ),
    (
        "vllm bench serve",
        &["--base-url", "--endpoint", "--dataset-name", "--random-input-len", "--random-output-len", "--num-prompts"],
    ),
    ("pytest", &["--fake-openai-args", "--fake-openai-url"]),
    ("uvx", &["--from"]),
];

/// The greatest width of a line, in columns.
const WIDTH: usize = 120;

/// A Markdown file, by its path from the root of the repository.
struct Page {
    path: PathBuf,
    text: String,
}

/// A fenced block.
struct Block<'a> {
    /// The line before the fence.
    before: &'a str,
    language: &'a str,
    text: String,
    /// The number of the fence's line.
    line: usize,
}

impl Page {
    fn read(path: impl Into<PathBuf>) -> Page {
        let path = path.into();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Page { path, text }
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The lines outside of fenced blocks, with their numbers.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        self.text.lines().enumerate().filter_map(move |(number, line)| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            (!fence && !fenced).then_some((number + 1, line))
        })
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let (mut blocks, mut open, mut before) = (Vec::new(), None::<Block<'_>>, "");
        for (number, line) in self.text.lines().enumerate() {
            match (open.take(), line.strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(Block { before, language, text: String::new(), line: number + 1 });
                }
                (Some(block), Some("")) => blocks.push(block),
                (Some(mut block), _) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => before = line,
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.shown());
        blocks
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose().filter(|(_, line)| line.starts_with('#'));
        headings
            .map(|(_, line)| {
                let text = line.trim_start_matches('#').trim().to_lowercase();
                let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }

    /// The targets of its links, with the numbers of their lines.
    fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose().flat_map(|(number, line)| {
            let ends = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
            ends.filter_map(move |rest| Some((number, rest.split_once(')')?.0)))
        })
    }
}

/// Every page: the README, the guide for contributors, and those under `docs/`.
fn pages() -> Vec<Page> {
    let mut pages = vec![Page::read("README.md"), Page::read("CONTRIBUTING.md")];
    let mut names: Vec<_> = fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    names.sort();
    pages.extend(names.into_iter().map(Page::read));
    pages
}

/// The program's output on success.
fn output(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "fake-openai {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Replaces the blocks between generated markers by the program's current output, and lists their commands.
/// Removes trailing blanks.
fn regenerated(text: &str) -> (String, Vec<String>) {
    let (mut rest, mut fresh, mut commands) = (text, String::new(), Vec::new());
    while let Some((before, after)) = rest.split_once("<!-- generated: fake-openai ") {
        let (args, after) = after.split_once(" -->\n").expect("a marker ends on its line");
        let (_, after) = after.split_once("<!-- end -->").expect("a generated block has an end");
        let printed = output(&args.split(' ').collect::<Vec<_>>());
        let lines: Vec<_> = printed.trim_end().lines().map(str::trim_end).collect();
        let block = format!("<!-- generated: fake-openai {args} -->\n```text\n{}\n```\n<!-- end -->", lines.join("\n"));
        fresh += before;
        fresh += &block;
        commands.push(args.to_owned());
        rest = after;
    }
    (fresh + rest, commands)
}

#[test]
fn generated_blocks_match_the_program() {
    let mut all = BTreeSet::new();
    for page in pages() {
        let (fresh, commands) = regenerated(&page.text);
        all.extend(commands.into_iter().map(|args| (page.shown(), args)));
        if fresh == page.text {
            continue;
        }
        if env::var("SNAPSHOTS").is_ok_and(|action| action == "overwrite") {
            fs::write(&page.path, fresh).unwrap();
            continue;
        }
        let differs = fresh.lines().zip(page.text.lines()).position(|(new, old)| new != old);
        let number = differs.unwrap_or_else(|| fresh.lines().count().min(page.text.lines().count()));
        panic!(
            "{}:{}: not what the program prints: {:?}; run `SNAPSHOTS=overwrite cargo test --test it -- docs::`",
            page.shown(),
            number + 1,
            fresh.lines().nth(number).unwrap_or("nothing more"),
        );
    }
    let mut wanted: Vec<_> = COMMANDS.map(|command| ("docs/cli.md", format!("{command} --help"))).into();
    wanted.extend([
        ("docs/cli.md", "--help".to_owned()),
        ("docs/routes.md", "routes".to_owned()),
        ("docs/faults.md", "faults".to_owned()),
        ("docs/latency.md", "profiles".to_owned()),
    ]);
    for (page, args) in wanted {
        assert!(all.contains(&(page.to_owned(), args.clone())), "{page} lacks a generated block of `{args}`");
    }
}

#[test]
fn each_command_has_its_help_in_the_docs() {
    let help = output(&["--help"]);
    let list = help.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let page = fs::read_to_string("docs/cli.md").unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    for name in names.filter(|name| !name.is_empty() && *name != "help") {
        assert!(page.contains(&format!("| `{name}")), "the table of docs/cli.md lacks `{name}`");
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let anchors: BTreeMap<_, _> = pages.iter().map(|page| (page.path.clone(), page.anchors())).collect();
    for page in &pages {
        for (line, target) in page.links().filter(|(_, target)| !target.contains("://")) {
            let place = format!("{}:{line}: `{target}`", page.shown());
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let path = if file.is_empty() { page.path.clone() } else { beside(&page.path, file) };
            assert!(path.exists(), "{place}: there is no {}", path.display());
            if let Some(anchor) = anchor {
                let known = anchors.get(&path).unwrap_or_else(|| panic!("{place}: not a page with headings"));
                assert!(known.contains(anchor), "{place}: no such heading; there are {known:?}");
            }
        }
    }
}

/// The path that a link beside this page leads to.
fn beside(page: &Path, file: &str) -> PathBuf {
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in file.split('/') {
        match part {
            ".." => _ = path.pop(),
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let pages = pages();
    let (mut seen, mut next) = (BTreeSet::new(), vec![PathBuf::from("README.md")]);
    while let Some(path) = next.pop() {
        let Some(page) = pages.iter().find(|page| page.path == path) else { continue };
        if seen.insert(path.clone()) {
            let files = page.links().map(|(_, target)| target.split('#').next().unwrap());
            next.extend(files.map(|file| beside(&path, file)));
        }
    }
    for page in pages {
        assert!(seen.contains(&page.path), "no link leads to {}", page.shown());
    }
}

#[test]
fn pages_can_be_read_in_a_terminal() {
    let readme = fs::read_to_string("README.md").unwrap();
    assert!(readme.lines().count() <= 350, "README.md has {} lines", readme.lines().count());
    for page in pages() {
        for (number, line) in page.prose().filter(|(_, line)| !line.starts_with('|')) {
            let width = line.chars().count();
            assert!(width <= WIDTH, "{}:{number} has {width} columns", page.shown());
        }
    }
}

#[test]
fn pages_begin_with_an_example() {
    for page in pages().into_iter().filter(|page| page.path.starts_with("docs")) {
        let first = page.blocks().into_iter().next().unwrap_or_else(|| panic!("{} has no example", page.shown()));
        assert!(first.line <= 12, "{} begins with text: its first example is on line {}", page.shown(), first.line);
    }
}

#[test]
fn configuration_examples_pass_the_check() {
    let mut checked = 0;
    for page in pages() {
        let blocks = page.blocks();
        let yaml = blocks.iter().filter(|block| block.language == "yaml");
        for block in yaml.filter(|block| block.text.starts_with("# fake-openai --config ")) {
            let directory = Directory::with(&[("fake.yaml", &block.text)]);
            let path = directory.path().join("fake.yaml");
            let output = run(&["check", "--config", path.to_str().unwrap()]);
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:{}: {problem}", page.shown(), block.line);
            checked += 1;
        }
    }
    assert!(checked >= 3, "few examples have the first line `# fake-openai --config fake.yaml`");
}

/// A line `<!-- fixture: NAME -->` precedes each file. The files of a page share a directory until a name repeats.
#[test]
fn fixture_examples_pass_the_check() {
    let mut checked = 0;
    for page in pages() {
        let mut directories: Vec<BTreeMap<&str, &str>> = vec![BTreeMap::new()];
        let blocks = page.blocks();
        for block in blocks.iter().filter(|block| block.language == "json") {
            let name = block.before.strip_prefix("<!-- fixture: ").and_then(|rest| rest.strip_suffix(" -->"));
            let name = name.unwrap_or_else(|| panic!("{}:{}: name the fixture", page.shown(), block.line));
            if directories.last().unwrap().contains_key(name) {
                directories.push(BTreeMap::new());
            }
            directories.last_mut().unwrap().insert(name, &block.text);
        }
        for files in directories.iter().filter(|files| !files.is_empty()) {
            let directory = Directory::with(&files.iter().map(|(name, text)| (*name, *text)).collect::<Vec<_>>());
            let output = run(&["check", "--fixtures", directory.path().to_str().unwrap()]);
            assert!(output.status.success(), "{}: {}", page.shown(), String::from_utf8_lossy(&output.stderr));
            checked += files.len();
        }
    }
    assert!(checked >= 5);
}

/// The flags in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("--").filter(|(at, _)| {
        !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '-')
            && text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase())
    });
    let end = |rest: &str| rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
    starts.map(|(at, _)| text[at..at + 2 + end(&text[at + 2..])].to_owned()).collect()
}

#[test]
fn flags_in_the_docs_exist() {
    let mut known = flags(&output(&["--help"]));
    known.extend(COMMANDS.iter().flat_map(|command| flags(&output(&[command, "--help"]))));
    known.extend(OTHER_FLAGS.iter().flat_map(|(_, flags)| flags.iter().map(|flag| (*flag).to_owned())));
    for page in pages() {
        for (number, line) in page.text.lines().enumerate() {
            for flag in flags(line) {
                assert!(known.contains(&flag), "{}:{}: there is no `{flag}`", page.shown(), number + 1);
            }
        }
    }
}

#[test]
fn source_paths_for_contributors_exist() {
    let guide = Page::read("CONTRIBUTING.md");
    let spans = guide.prose().flat_map(|(number, line)| line.split('`').skip(1).step_by(2).map(move |s| (number, s)));
    for (number, path) in spans.filter(|(_, span)| ["src/", "tests/", "benches/"].iter().any(|p| span.starts_with(p))) {
        // A placeholder or a glob stands for many files.
        let fixed = path.split(['<', '*']).next().unwrap();
        assert!(Path::new(fixed).exists(), "CONTRIBUTING.md:{number}: there is no {path}");
    }
}
