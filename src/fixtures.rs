//! The fixtures: what is said, and where. Built into the binary, and overridden file by file from a directory.

pub mod collection;
mod endpoint;
mod errors;
pub mod file;
mod headers;
mod like;
mod models;
mod named;
mod outline;
mod problem;
mod provider;
pub mod router;
mod script;
mod source;

use std::{path::Path, sync::OnceLock};

pub use endpoint::{Endpoint, Kind};
use http::Method;
pub use problem::Problem;
use problem::Problems;
pub use provider::Provider;
pub use source::{BUILT_IN, eject};

use crate::{
    error::ApiError,
    facts::ModelFacts,
    fixtures::{
        named::Named,
        outline::{Claim, Outline, Owner},
        router::{Found, Route, Router},
        script::Replies,
        source::Sources,
    },
    latency::{Latency, Profile},
    limit::LimitSpec,
    request::Headers,
    rule::Rule,
    template::scope::Params,
};

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

/// All fixtures. What loads can be served.
///
/// Providers and their endpoints are compiled when they are first asked for: a program starts to answer some of them, and
/// has hundreds. That what is built in can be served, a test has seen; files of the user's own are compiled at the start,
/// and with them everything that they may change.
pub struct Fixtures {
    sources: Sources,
    providers: Vec<Owner>,
    /// How they claim requests for paths of others.
    claims: Vec<Claim>,
    files: Vec<OneFile>,
    /// The file of each endpoint, and which of the endpoints there it is.
    endpoints: Vec<(usize, usize)>,
    router: Router,
    replies: Replies,
    facts: Vec<ModelFacts>,
    tiers: Named<Vec<LimitSpec>>,
    profiles: Named<Profile>,
    rules: Vec<Rule>,
    overridden: usize,
    added: usize,
}

/// A file that has endpoints, before it is compiled.
struct OneFile {
    name: String,
    /// The number of its provider.
    provider: usize,
    outline: Outline,
    compiled: OnceLock<Vec<Endpoint>>,
}

/// An endpoint that is listed.
pub struct Listed<'a> {
    /// The name of its provider.
    pub provider: &'a str,
    /// Its file, as a path under `fixtures/`.
    pub file: &'a str,
    /// Its routes.
    pub routes: &'a [Route],
    /// Itself.
    pub endpoint: &'a Endpoint,
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
        let mut sources = source::built_in();
        let built_in = sources.len();
        let theirs = overlay.map(|directory| source::read(directory, &mut problems)).unwrap_or_default();
        let count = theirs.len();
        sources.extend(theirs);
        let added = sources.len() - built_in;
        let mut fixtures = survey(sources, &mut problems);
        (fixtures.overridden, fixtures.added) = (count - added, added);
        if overlay.is_some() {
            fixtures.compile_all(&mut problems);
        }
        if problems.is_empty() { Ok(fixtures) } else { Err(problems) }
    }

    /// Compiles everything, in place of each when it is asked for.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        self.compile_all(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn compile_all(&self, problems: &mut Vec<Problem>) {
        for owner in &self.providers {
            let compiled = self.compile_provider(owner, problems);
            // What stands there already is the same.
            let _ = owner.compiled.set(compiled);
        }
        for file in &self.files {
            let compiled = self.compile_file(file, problems);
            let _ = file.compiled.set(compiled);
        }
    }

    fn compile_provider(&self, owner: &Owner, problems: &mut Vec<Problem>) -> Provider {
        let text = |name: &str| self.text(&format!("{name}/{PROVIDER}"));
        let shown = self.sources.get(&format!("{}/{PROVIDER}", owner.name)).map_or("", |source| &source.shown);
        provider::compile(&owner.name, &text, &mut Problems { file: shown, list: problems }).unwrap_or_default()
    }

    fn compile_file(&self, file: &OneFile, problems: &mut Vec<Problem>) -> Vec<Endpoint> {
        let shown = self.sources.get(&file.name).map_or("", |source| &source.shown);
        let mut problems = Problems { file: shown, list: problems };
        let shape = self.provider(file.provider).shape();
        endpoint::compile(&file.name, &file.outline, &|name| self.text(name), shape, &self.replies, &mut problems)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.sources.get(name).map(|source| &*source.text)
    }

    fn provider(&self, number: usize) -> &Provider {
        let owner = &self.providers[number];
        owner.compiled.get_or_init(|| proven(|problems| self.compile_provider(owner, problems)))
    }

    fn endpoints_of<'a>(&'a self, file: &'a OneFile) -> &'a [Endpoint] {
        file.compiled.get_or_init(|| proven(|problems| self.compile_file(file, problems)))
    }

    /// Where a request leads.
    pub fn find<'a>(&'a self, method: &Method, path: &'a str) -> Target<'a> {
        let file = |number: usize| &self.files[self.endpoints[number].0];
        match self.router.find(method, path) {
            Found::Endpoint(number, params) => {
                let file = file(number);
                let endpoint = self.endpoints_of(file).get(self.endpoints[number].1);
                let unknown = || ApiError::UnknownPath { nearest: String::new() };
                let endpoint = endpoint.map(|endpoint| (endpoint, params)).ok_or_else(unknown);
                Target { provider: self.provider(file.provider), endpoint }
            }
            Found::OtherMethods(methods, number) => {
                let provider = self.provider(file(number).provider);
                Target { provider, endpoint: Err(ApiError::MethodNotAllowed { allow: allow(&methods) }) }
            }
            Found::Nothing => {
                let routes = self.files.iter().flat_map(|file| file.outline.routes());
                let nearest = router::nearest(routes, method, path).map(ToString::to_string).unwrap_or_default();
                Target { provider: self.owner(path), endpoint: Err(ApiError::UnknownPath { nearest }) }
            }
        }
    }

    /// Where a request leads that is told by a header from another provider's of the same path.
    pub fn claimed(&self, path: &str, headers: &dyn Headers) -> Option<String> {
        self.claims.iter().find_map(|claim| claim.readdressed(path, headers))
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
        let claim = |number: &usize| self.providers[*number].claim(path);
        // `survey` sees to it that there is a provider, and one whose prefix is `/`.
        self.provider((0..self.providers.len()).max_by_key(claim).unwrap_or_default())
    }

    /// Every endpoint, by file.
    pub fn endpoints(&self) -> impl Iterator<Item = Listed<'_>> {
        self.files.iter().flat_map(|file| {
            let provider = self.providers[file.provider].name.as_str();
            let routes = file.outline.endpoints.iter().map(|(_, routes)| routes);
            let endpoints = routes.zip(self.endpoints_of(file));
            endpoints.map(move |(routes, endpoint)| Listed { provider, file: &file.name, routes, endpoint })
        })
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

/// What is compiled without a fault, since it has been before: by a test, or at the start.
fn proven<T>(compile: impl FnOnce(&mut Vec<Problem>) -> T) -> T {
    let mut problems = Vec::new();
    let compiled = compile(&mut problems);
    debug_assert!(problems.is_empty(), "{problems:?}");
    compiled
}

fn allow(methods: &[Method]) -> String {
    let mut names: Vec<_> = methods.iter().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.join(", ")
}

/// Reads what must be known before anybody asks. What is wrong with it goes to `problems`, and then the result is not to
/// be used.
fn survey(sources: Sources, problems: &mut Vec<Problem>) -> Fixtures {
    let (mut providers, mut claims) = (Vec::new(), Vec::new());
    for (name, source) in &sources {
        if let Some((directory, PROVIDER)) = name.split_once('/') {
            let mut problems = Problems { file: &source.shown, list: problems };
            let read = Owner::read(directory, &source.text, &mut problems);
            let (owner, claim) = read.unzip();
            providers.extend(owner);
            claims.extend(claim.flatten());
        }
    }
    if !providers.iter().any(|provider| provider.claim("/").is_some()) && problems.is_empty() {
        let file = "fixtures";
        Problems { file, list: problems }
            .add("", "no provider has \"/\" among its `paths`: one must own unknown paths");
    }

    let replies = sources.get(REPLIES).map_or_else(Replies::default, |source| {
        let mut problems = Problems { file: &source.shown, list: problems };
        let list = problems.take("", parse::<Vec<_>>(&source.text));
        let list = list.filter(|list| script::check_order(list, "", &mut problems)).unwrap_or_default();
        Replies { shown: source.shown.to_string(), list }
    });
    let facts = list(FACTS, &sources, problems);
    let tiers = Named::compile("tier", TIERS, &sources, problems, |name, limits: &Vec<LimitSpec>, problems| {
        for (n, limit) in limits.iter().enumerate() {
            problems.take(format!("{name}[{n}]"), limit.check());
        }
    });
    let rules = list(RULES, &sources, problems);
    let profiles = Named::compile("profile", PROFILES, &sources, problems, |_, _, _| {});

    let mut files: Vec<OneFile> = Vec::new();
    let mut endpoints: Vec<(usize, usize)> = Vec::new();
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
        let Some(provider) = providers.iter().position(|provider| provider.name == directory) else {
            if !sources.contains_key(&format!("{directory}/{PROVIDER}")) {
                let remedy =
                    format!("`{directory}/{PROVIDER}` is missing: write one, such as {{\"like\": \"openai\"}}");
                problems.add("", remedy);
            }
            continue;
        };
        let text = |name: &str| sources.get(name).map(|source| &*source.text);
        let Some(outline) = Outline::read(name, &text, &mut problems) else { continue };
        for (nth, (action, routes)) in outline.endpoints.iter().enumerate() {
            for (n, route) in routes.iter().enumerate() {
                if let Err(other) = router.add(route, endpoints.len()) {
                    let other = endpoints.get(other).map_or(name, |(file, _)| &files[*file].name);
                    let remedy = match sources.get(other) {
                        Some(theirs) if theirs.built_in && !source.built_in => {
                            format!("name this file {other} to replace the built-in one")
                        }
                        _ => "a route has one answer".to_owned(),
                    };
                    let place = if action.is_empty() { format!("routes[{n}]") } else { format!("actions.{action}") };
                    problems.add(place, format!("`{route}` is already answered by {other}: {remedy}"));
                }
            }
            endpoints.push((files.len(), nth));
        }
        files.push(OneFile { name: name.clone(), provider, outline, compiled: OnceLock::new() });
    }
    let (overridden, added) = (0, 0);
    Fixtures {
        sources,
        providers,
        claims,
        files,
        endpoints,
        router,
        replies,
        facts,
        tiers,
        profiles,
        rules,
        overridden,
        added,
    }
}

/// What a file at the top lists.
fn list<T: serde::de::DeserializeOwned>(name: &str, sources: &Sources, problems: &mut Vec<Problem>) -> Vec<T> {
    sources.get(name).map_or_else(Vec::new, |source| {
        let mut problems = Problems { file: &source.shown, list: problems };
        problems.take("", parse(&source.text)).unwrap_or_default()
    })
}

/// Reads JSON; the error names line and column, and what would be right.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
