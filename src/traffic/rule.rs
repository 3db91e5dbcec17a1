//! Rules: for which requests something goes wrong.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use super::{
    fault::FaultSpec,
    matcher::{MatchInput, RequestMatcher},
};

/// The most that are kept while the server runs.
const MOST: usize = 1000;

/// What goes wrong, and for which requests: `{"when": {"model": "gpt-4o"}, "fault": "429x2"}`.
#[derive(Clone, Debug)]
pub struct Rule {
    when: RequestMatcher,
    fault: FaultSpec,
    /// As it is written.
    written: Value,
}

impl Rule {
    /// As it is written.
    pub fn written(&self) -> &Value {
        &self.written
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// For which requests, all of them if that is left out, and what goes wrong with them.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "rule")]
        struct Read {
            #[serde(default)]
            when: RequestMatcher,
            fault: FaultSpec,
        }
        let written = Value::deserialize(deserializer)?;
        let Read { when, fault } = Read::deserialize(&written).map_err(D::Error::custom)?;
        Ok(Rule { when, fault, written })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

/// Rules that do not change. Those for one model are found by its name, so that they cost other requests one look.
#[derive(Debug, Default)]
pub struct RuleSet {
    by_model: HashMap<String, Vec<Rule>, foldhash::fast::RandomState>,
    others: Vec<Rule>,
}

impl RuleSet {
    /// These, the first counting for most among those that fit.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let mut set = RuleSet::default();
        for rule in rules {
            match rule.when.only_model() {
                Some(model) => set.by_model.entry(model.to_owned()).or_default().push(rule),
                None => set.others.push(rule),
            }
        }
        set
    }

    /// What goes wrong with requests to this model; `asked` is read where more than the model counts.
    pub fn chains<'s, 'a: 's, 'm: 'a>(
        &'s self,
        model: &str,
        asked: &'s MatchInput<'a, 'm>,
    ) -> impl Iterator<Item = &'s FaultSpec> {
        let named = self.by_model.get(model).map(Vec::as_slice).unwrap_or_default();
        let fits = |rule: &&Rule| rule.when.fits(asked);
        named.iter().chain(self.others.iter().filter(fits)).map(|rule| &rule.fault)
    }

    /// Whether no rule could fit a request to this model.
    pub fn is_silent(&self, model: &str) -> bool {
        self.others.is_empty() && !self.by_model.contains_key(model)
    }
}

/// Rules that come and go while the server runs.
#[derive(Default)]
pub struct LiveRules {
    live: RwLock<Arc<Live>>,
    /// Whether there are any: every request asks, and most often there are none.
    any: AtomicBool,
}

#[derive(Clone, Default)]
struct Live {
    /// The newest first.
    list: Vec<LiveRule>,
    last_id: u64,
}

/// One of them.
#[derive(Clone)]
pub struct LiveRule {
    /// What it is called.
    pub id: String,
    /// What it does.
    pub rule: Rule,
}

/// Why a rule is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It makes no sense; what is wrong with it.
    Wrong(String),
    /// There are too many.
    Full(usize),
}

impl LiveRules {
    fn now(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes them all at once, as far as requests see it.
    fn change<T>(&self, change: impl FnOnce(&mut Live) -> T) -> T {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Live::clone(&live);
        let result = change(&mut next);
        self.any.store(!next.list.is_empty(), Ordering::Release);
        *live = Arc::new(next);
        result
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// All, the newest first, which counts for most.
    pub fn list(&self) -> Vec<LiveRule> {
        self.now().list.clone()
    }

    /// What goes wrong with a request.
    pub fn chains(&self, asked: &MatchInput<'_, '_>) -> Vec<(String, FaultSpec)> {
        let live = self.now();
        let fits = live.list.iter().filter(|live| live.rule.when.fits(asked));
        fits.map(|live| (live.id.clone(), live.rule.fault.clone())).collect()
    }

    /// Puts a rule: a new one, or in the place of the one called `id`.
    ///
    /// # Errors
    /// It is wrong, or one too many.
    pub fn put(&self, id: Option<&str>, written: &Value) -> Result<LiveRule, Refused> {
        let rule = Rule::deserialize(written).map_err(|error| Refused::Wrong(error.to_string()))?;
        self.change(|live| {
            let known = live.list.iter().position(|live| Some(live.id.as_str()) == id);
            if known.is_none() && live.list.len() >= MOST {
                return Err(Refused::Full(MOST));
            }
            let id = match id {
                Some(id) => id.to_owned(),
                None => {
                    live.last_id += 1;
                    format!("rule-{}", live.last_id)
                }
            };
            let put = LiveRule { id, rule };
            match known {
                Some(place) => live.list[place] = put.clone(),
                None => live.list.insert(0, put.clone()),
            }
            Ok(put)
        })
    }

    /// Takes away the one called `id`; whether there was one.
    pub fn delete(&self, id: &str) -> bool {
        self.change(|live| {
            let before = live.list.len();
            live.list.retain(|live| live.id != id);
            live.list.len() < before
        })
    }

    /// Takes all away.
    pub fn clear(&self) {
        self.change(|live| live.list.clear());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::{json, prompt::Prompt};

    fn texts<'s>(chains: impl Iterator<Item = &'s FaultSpec>) -> Vec<String> {
        chains.map(ToString::to_string).collect()
    }

    #[test]
    fn rules_for_one_model_come_before_those_for_others() {
        let rules: Vec<Rule> = serde_json::from_value(json!([
            {"when": {"model": "gpt-*"}, "fault": "503%5"},
            {"when": {"model": "429"}, "fault": 429},
            {"when": {"model": "429"}, "fault": "ttft=1s"},
        ]))
        .unwrap();
        let set = RuleSet::new(rules);
        let body = json::Object::default();
        let of = |model: &'static str| {
            let asked = MatchInput::new(body, model.into(), "/v1/chat/completions", &Prompt::default);
            texts(set.chains(model, &asked))
        };
        assert_eq!(of("429"), ["429", "ttft=1s"]);
        assert_eq!(of("gpt-4o"), ["503%5"]);
        assert!(of("o3").is_empty());
    }

    #[test]
    fn live_rules_come_change_and_go() {
        let rules = LiveRules::default();
        assert!(rules.is_empty());
        let first = rules.put(None, &json!({"fault": "503"})).unwrap();
        let second = rules.put(None, &json!({"fault": "hang", "when": {"model": "o3"}})).unwrap();
        rules.put(Some(&first.id), &json!({"fault": "429"})).unwrap();
        rules.put(Some("mine"), &json!({"fault": "gzip"})).unwrap();
        let all: Vec<_> =
            rules.list().into_iter().map(|live| (live.id, live.rule.written()["fault"].clone())).collect();
        assert_eq!(all, [("mine".into(), json!("gzip")), (second.id.clone(), json!("hang")), (first.id, json!("429"))]);
        let body = json::Object::default();
        let chains = rules.chains(&MatchInput::new(body, "o3".into(), "/", &Prompt::default));
        assert_eq!(texts(chains.iter().map(|(_, chain)| chain)), ["gzip", "hang", "429"]);
        assert!(rules.delete(&second.id) && !rules.delete(&second.id));
        assert!(
            matches!(rules.put(None, &json!({"fault": "boom"})), Err(Refused::Wrong(what)) if what.contains("boom"))
        );
        assert!(matches!(rules.put(None, &json!({"faults": "503"})), Err(Refused::Wrong(_))));
        for _ in 2..MOST {
            rules.put(None, &json!({"fault": "503"})).unwrap();
        }
        assert_eq!(rules.put(None, &json!({"fault": "503"})).err(), Some(Refused::Full(MOST)));
        rules.clear();
        assert!(rules.is_empty());
    }
}
