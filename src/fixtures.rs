//! The fixtures: what is said, and where. Built into the binary, and overridden file by file from a directory.

pub mod collection;
mod endpoint;
mod errors;
pub mod file;
mod headers;
mod like;
mod models;
mod named;
mod provider;
pub mod router;
mod script;

use std::{borrow::Cow, collections::BTreeMap, fmt, fs, io, path::Path};

pub use endpoint::{Endpoint, Kind};
use http::Method;
pub use provider::Provider;

use crate::{
    error::ApiError,
    facts::ModelFacts,
    fixtures::{
        file::ReplyFile,
        named::Named,
        router::{Found, Router},
    },
    latency::{Latency, Profile},
    limit::LimitSpec,
    request::Headers,
    rule::Rule,
    template::scope::Params,
};

/// Every file under `fixtures/` when the binary was built, by its path there.
pub const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/built_in.rs"));

/// What the fake model says where an endpoint does not say otherwise.
const REPLIES: &str = "replies.json";
/// What is known of models.
const FACTS: &str = "facts.json";
/// The limits of accounts.
const TIERS: &str = "tiers.json";
/// How long models take.
const PROFILES: &str = "profiles.json";
/// What goes wrong with which requests.
const RULES: &str = "rules.json";
/// What all endpoints of a provider share.
const PROVIDER: &str = "provider.json";

/// A mistake in a fixture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the user would open it.
    pub file: String,
    /// Where in the file, such as `routes[1]`; empty if the text says it.
    pub place: String,
    /// What is wrong, and what to do about it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.place.is_empty() { "" } else { ": " };
        write!(f, "{}: {}{colon}{}", self.file, self.place, self.what)
    }
}

/// Collects what is wrong with one file.
struct Problems<'a> {
    file: &'a str,
    list: &'a mut Vec<Problem>,
}

impl Problems<'_> {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.list.push(Problem { file: self.file.to_owned(), place: place.into(), what: what.into() });
    }

    /// The value, or else its problem is added.
    fn take<T>(&mut self, place: impl Into<String>, result: Result<T, String>) -> Option<T> {
        result.map_err(|what| self.add(place, what)).ok()
    }
}

/// One file that was found, built in or in the overlay.
struct Source {
    /// How its problems name it.
    shown: String,
    text: Cow<'static, str>,
    built_in: bool,
}

/// All fixtures, compiled. What loads can be served.
pub struct Fixtures {
    providers: Vec<Provider>,
    /// Those of them that claim requests for paths of others.
    claiming: Vec<usize>,
    endpoints: Vec<Endpoint>,
    router: Router,
    facts: Vec<ModelFacts>,
    tiers: Named<Vec<LimitSpec>>,
    profiles: Named<Profile>,
    rules: Vec<Rule>,
    overridden: usize,
    added: usize,
}

/// Where a request leads.
pub struct Target<'a> {
    /// Whose path it is: errors are told in this provider's words.
    pub provider: &'a Provider,
    /// The endpoint and its parameters, or why there is none.
    pub endpoint: Result<(&'a Endpoint, Params<'a>), ApiError>,
}

impl Fixtures {
    /// Loads the built-in files, with those under `overlay` over them.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(overlay: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut sources: BTreeMap<String, Source> = BUILT_IN
            .iter()
            .map(|(name, text)| {
                let shown = format!("fixtures/{name} (built in)");
                (name.to_string(), Source { shown, text: Cow::Borrowed(text), built_in: true })
            })
            .collect();
        let built_in = sources.len();
        let mut overlaid = 0;
        if let Some(directory) = overlay {
            let files = read(directory, &mut problems);
            overlaid = files.len();
            sources.extend(files);
        }
        let added = sources.len() - built_in;
        let fixtures = compile(&sources, &mut problems);
        if problems.is_empty() {
            Ok(Fixtures { overridden: overlaid - added, added, ..fixtures })
        } else {
            Err(problems)
        }
    }

    /// Where a request leads.
    pub fn find<'a>(&'a self, method: &Method, path: &'a str) -> Target<'a> {
        match self.router.find(method, path) {
            Found::Endpoint(number, params) => {
                let endpoint = &self.endpoints[number];
                Target { provider: &self.providers[endpoint.provider], endpoint: Ok((endpoint, params)) }
            }
            Found::OtherMethods(methods, number) => {
                let provider = &self.providers[self.endpoints[number].provider];
                Target { provider, endpoint: Err(ApiError::MethodNotAllowed { allow: allow(&methods) }) }
            }
            Found::Nothing => {
                let nearest = self.router.nearest(method, path).map(ToString::to_string).unwrap_or_default();
                Target { provider: self.owner(path), endpoint: Err(ApiError::UnknownPath { nearest }) }
            }
        }
    }

    /// Where a request leads that is told by a header from another provider's of the same path.
    pub fn claimed(&self, path: &str, headers: &dyn Headers) -> Option<String> {
        self.claiming.iter().find_map(|number| self.providers[*number].claimed(path, headers))
    }

    /// The methods that a path can be asked with, as the `Allow` header wants them; `None` where there is no such path.
    pub fn allowed(&self, path: &str) -> Option<String> {
        match self.router.find(&Method::OPTIONS, path) {
            Found::OtherMethods(methods, _) => Some(allow(&methods)),
            _ => None,
        }
    }

    /// The provider with the longest prefix of this path.
    fn owner(&self, path: &str) -> &Provider {
        let claim = |provider: &&Provider| provider.claim(path);
        // `compile` sees to it that there is a provider, and one whose prefix is `/`.
        self.providers.iter().max_by_key(claim).unwrap_or(&self.providers[0])
    }

    /// Every endpoint with the name of its provider, by file.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, &Endpoint)> {
        self.endpoints.iter().map(|endpoint| (self.providers[endpoint.provider].name.as_str(), endpoint))
    }

    /// What is known of models; the first that fits one holds.
    pub fn facts(&self) -> &[ModelFacts] {
        &self.facts
    }

    /// The limits of an account of this tier.
    ///
    /// # Errors
    /// There is no such tier: those that there are.
    pub fn tier(&self, name: &str) -> Result<&[LimitSpec], Problem> {
        self.tiers.get(name).map(Vec::as_slice)
    }

    /// What goes wrong with which requests.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How long a model with this profile takes.
    ///
    /// # Errors
    /// There is no such profile: those that there are.
    pub fn profile(&self, name: &str) -> Result<&Latency, Problem> {
        self.profiles.get(name).map(|profile| &profile.latency)
    }

    /// Every profile with its name, by name.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.profiles.iter()
    }

    /// How many built-in files the overlay overrides, and how many it adds.
    pub fn overlaid(&self) -> (usize, usize) {
        (self.overridden, self.added)
    }
}

fn allow(methods: &[Method]) -> String {
    let mut names: Vec<_> = methods.iter().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.join(", ")
}

/// Writes the built-in files under `directory`, for editing.
///
/// # Errors
/// That of the file system, or [`io::ErrorKind::AlreadyExists`] with the file that would have been overwritten.
pub fn eject(directory: &Path) -> io::Result<usize> {
    let targets = BUILT_IN.iter().map(|(name, text)| (directory.join(name), text));
    if let Some((taken, _)) = targets.clone().find(|(path, _)| path.exists()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, taken.display().to_string()));
    }
    for (path, text) in targets {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(BUILT_IN.len())
}

/// Reads the fixtures in a directory, which must be there.
fn read(directory: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, Source> {
    fn walk(
        root: &Path,
        directory: &Path,
        found: &mut BTreeMap<String, Source>,
        problems: &mut Vec<Problem>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let shown = path.display().to_string();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            if hidden {
                continue;
            } else if path.is_dir() {
                walk(root, &path, found, problems)?;
            } else if extension.as_deref() == Some("json") {
                let text = Cow::Owned(fs::read_to_string(&path)?);
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                found.insert(name, Source { shown, text, built_in: false });
            } else if matches!(extension.as_deref(), Some("yaml" | "yml" | "jsonc" | "json5" | "toml")) {
                Problems { file: &shown, list: problems }
                    .add("", "fixtures are .json files: this one would not be read");
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    if let Err(error) = walk(directory, directory, &mut found, problems) {
        let shown = directory.display().to_string();
        Problems { file: &shown, list: problems }.add("", format!("cannot be read: {error}"));
    }
    found
}

/// Compiles all files; what is wrong with them goes to `problems`, and then the result is not to be used.
fn compile(sources: &BTreeMap<String, Source>, problems: &mut Vec<Problem>) -> Fixtures {
    let mut providers = Vec::new();
    for (name, source) in sources {
        if let Some((directory, PROVIDER)) = name.split_once('/') {
            let mut problems = Problems { file: &source.shown, list: problems };
            let text = |name: &str| sources.get(&format!("{name}/{PROVIDER}")).map(|source| &*source.text);
            providers.extend(provider::compile(directory, &text, &mut problems));
        }
    }
    if !providers.iter().any(|provider: &Provider| provider.claim("/").is_some()) && problems.is_empty() {
        let file = "fixtures";
        Problems { file, list: problems }
            .add("", "no provider has \"/\" among its `paths`: one must own unknown paths");
    }

    let replies = sources.get(REPLIES).map_or_else(Vec::new, |source| {
        let mut problems = Problems { file: &source.shown, list: problems };
        let replies = problems.take("", parse::<Vec<ReplyFile>>(&source.text));
        replies.filter(|replies| script::check_order(replies, "", &mut problems)).unwrap_or_default()
    });
    let facts = sources.get(FACTS).map_or_else(Vec::new, |source| {
        let mut problems = Problems { file: &source.shown, list: problems };
        problems.take("", parse::<Vec<ModelFacts>>(&source.text)).unwrap_or_default()
    });

    let tiers = Named::compile("tier", TIERS, sources, problems, |name, limits: &Vec<LimitSpec>, problems| {
        for (n, limit) in limits.iter().enumerate() {
            problems.take(format!("{name}[{n}]"), limit.check());
        }
    });
    let rules = sources.get(RULES).map_or_else(Vec::new, |source| {
        let mut problems = Problems { file: &source.shown, list: problems };
        problems.take("", parse::<Vec<Rule>>(&source.text)).unwrap_or_default()
    });
    let profiles = Named::compile("profile", PROFILES, sources, problems, |_, _, _| {});

    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut router = Router::default();
    // The built-in ones first: where two have the same route, it is the user's file that is wrong.
    let mut in_order: Vec<_> = sources.iter().collect();
    in_order.sort_by_key(|(_, source)| !source.built_in);
    for (name, source) in in_order {
        let mut problems = Problems { file: &source.shown, list: problems };
        let Some((directory, file)) = name.split_once('/') else {
            if ![REPLIES, FACTS, TIERS, PROFILES, RULES].contains(&name.as_str()) {
                let only = format!("only {REPLIES}, {FACTS}, {TIERS}, {PROFILES} and {RULES} stand at the top");
                problems.add("", format!("{only}: put an endpoint into its provider's directory"));
            }
            continue;
        };
        if file == PROVIDER {
            continue;
        }
        let Some(number) = providers.iter().position(|provider: &Provider| provider.name == directory) else {
            if !sources.contains_key(&format!("{directory}/{PROVIDER}")) {
                let remedy =
                    format!("`{directory}/{PROVIDER}` is missing: write one, such as {{\"like\": \"openai\"}}");
                problems.add("", remedy);
            }
            continue;
        };
        let text = |name: &str| sources.get(name).map(|source| &*source.text);
        let owner = (number, &providers[number]);
        for endpoint in endpoint::compile(name, &text, owner, &replies, &mut problems) {
            for (n, route) in endpoint.routes.iter().enumerate() {
                if let Err(other) = router.add(route.clone(), endpoints.len()) {
                    let other = endpoints.get(other).map_or(name, |other| &other.file);
                    let remedy = match sources.get(other) {
                        Some(theirs) if theirs.built_in && !source.built_in => {
                            format!("name this file {other} to replace the built-in one")
                        }
                        _ => "a route has one answer".to_owned(),
                    };
                    problems.add(format!("routes[{n}]"), format!("`{route}` is already answered by {other}: {remedy}"));
                }
            }
            endpoints.push(endpoint);
        }
    }
    let claiming = (0..providers.len()).filter(|number| providers[*number].claims_any()).collect();
    Fixtures { providers, claiming, endpoints, router, facts, tiers, profiles, rules, overridden: 0, added: 0 }
}

/// Reads JSON; the error names line and column, and what would be right.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
