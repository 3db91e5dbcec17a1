//! Rules: faults for the requests that match.

use std::{
    collections::HashMap,
    iter::Sum,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use super::{
    fault::{FaultSpec, check_scope},
    matcher::{MatchInput, RequestMatcher},
};
use crate::core::json;

/// Maximum number of rules put at run time.
const MAX_RULES: usize = 1000;
/// Maximum memory that they take together, in bytes.
const MAX_MEMORY: usize = 32 << 20;
/// Maximum size of the text of a rule put at run time, in bytes.
pub const MAX_RULE_BYTES: usize = 64 << 10;
/// Maximum depth of its JSON. Deep values take far more text when they are listed.
const MAX_DEPTH: usize = 16;
/// Maximum length of its id, in bytes.
const MAX_ID: usize = 100;

/// A fault and the requests that it applies to: `{"when": {"model": "gpt-4o"}, "fault": "429x2"}`.
#[derive(Clone, Debug)]
pub struct Rule {
    when: RequestMatcher,
    fault: FaultSpec,
    /// The scope of the requests that it applies to; `None` for all.
    scope: Option<Box<str>>,
    /// The rule as the user wrote it.
    json: Value,
}

impl Rule {
    /// Returns the fault.
    pub fn fault(&self) -> &FaultSpec {
        &self.fault
    }

    /// Returns the rule as the user wrote it.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Returns an estimate of the memory that the rule takes, in bytes.
    fn memory(&self) -> usize {
        size_of::<Rule>() + json::memory(&self.json) + self.when.memory() + self.fault.memory()
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The members of a rule; without `when` it applies to all requests.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "rule")]
        struct RuleFile {
            #[serde(default)]
            when: RequestMatcher,
            fault: FaultSpec,
            scope: Option<Box<str>>,
        }
        let json = Value::deserialize(deserializer)?;
        let RuleFile { when, fault, scope } = RuleFile::deserialize(&json).map_err(D::Error::custom)?;
        check_scope(scope.as_deref().unwrap_or_default()).map_err(D::Error::custom)?;
        Ok(Rule { when, fault, scope, json })
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// Rules that do not change. Rules for one model are found by its name: other requests pay one lookup for them.
#[derive(Debug, Default)]
pub struct RuleSet {
    by_model: HashMap<String, Vec<Rule>, foldhash::fast::RandomState>,
    others: Vec<Rule>,
}

impl RuleSet {
    /// Creates a set of rules in order of priority, the highest first.
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

    /// Returns the faults of the rules that match; `input` is read only for rules with more conditions than the model.
    pub fn faults_for<'s, 'a: 's, 'm: 'a>(
        &'s self,
        model: &str,
        scope: &'s str,
        input: &'s MatchInput<'a, 'm>,
    ) -> impl Iterator<Item = &'s FaultSpec> {
        let named = self.by_model.get(model).map(Vec::as_slice).unwrap_or_default();
        let fits = |rule: &&Rule| rule.when.is_match(input);
        let is_in_scope = move |rule: &&Rule| rule.scope.as_deref().is_none_or(|own| own == scope);
        named.iter().chain(self.others.iter().filter(fits)).filter(is_in_scope).map(|rule| &rule.fault)
    }

    /// Returns true if no rule can match a request to this model.
    pub fn is_empty_for(&self, model: &str) -> bool {
        self.others.is_empty() && !self.by_model.contains_key(model)
    }
}

/// Rules that are put and deleted at run time.
#[derive(Default)]
pub struct LiveRules {
    state: RwLock<Arc<LiveState>>,
    /// True if there are any. Every request reads it, and usually there are none.
    any: AtomicBool,
}

#[derive(Clone, Default)]
struct LiveState {
    /// The rules, the newest first.
    list: Vec<LiveRule>,
    last_id: u64,
}

/// A rule put at run time.
#[derive(Clone)]
pub struct LiveRule {
    /// The id of the rule.
    pub id: String,
    /// The rule itself.
    pub rule: Arc<Rule>,
    /// The memory that it takes, in bytes.
    memory: usize,
}

/// The room that rules take of the bounds of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Number of rules.
    pub rules: usize,
    /// Their memory, in bytes.
    pub memory: usize,
}

impl Sum for Taken {
    fn sum<I: Iterator<Item = Taken>>(all: I) -> Self {
        all.fold(Taken::default(), |sum, one| Taken { rules: sum.rules + one.rules, memory: sum.memory + one.memory })
    }
}

/// A rule was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// The rule is invalid, for this reason.
    Invalid(String),
    /// There are already this many rules.
    TooMany(usize),
    /// All rules together would take more than this memory, in bytes.
    NoSpace(usize),
}

impl LiveRules {
    fn current(&self) -> Arc<LiveState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies a change atomically: a request sees the rules before or after it.
    fn change<T>(&self, change: impl FnOnce(&mut LiveState) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = LiveState::clone(&state);
        let result = change(&mut next);
        self.any.store(!next.list.is_empty(), Ordering::Release);
        *state = Arc::new(next);
        result
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// Returns all rules in order of priority, the newest first.
    pub fn list(&self) -> Vec<LiveRule> {
        self.current().list.clone()
    }

    /// Returns the id and the fault of each rule that matches.
    pub fn faults_for(&self, input: &MatchInput<'_, '_>) -> Vec<(String, FaultSpec)> {
        let state = self.current();
        let matching = state.list.iter().filter(|live| live.rule.when.is_match(input));
        matching.map(|live| (live.id.clone(), live.rule.fault.clone())).collect()
    }

    /// Returns the room that the rules take.
    pub fn taken(&self) -> Taken {
        let state = self.current();
        Taken { rules: state.list.len(), memory: state.list.iter().map(|live| live.memory).sum() }
    }

    /// Adds a rule, or replaces the one with this id; `check` checks its fault. The rules `elsewhere` count for the
    /// same bounds.
    ///
    /// # Errors
    /// The rule is invalid, or there are too many, or too large ones.
    pub fn put(
        &self,
        id: Option<&str>,
        json: &Value,
        elsewhere: Taken,
        check: impl FnOnce(&FaultSpec) -> Result<(), String>,
    ) -> Result<LiveRule, RuleError> {
        if id.is_some_and(|id| id.len() > MAX_ID) {
            return Err(RuleError::Invalid(format!("its id is longer than {MAX_ID} bytes; give it a shorter one")));
        }
        if json::depth(json) > MAX_DEPTH {
            return Err(RuleError::Invalid(format!("it is nested deeper than {MAX_DEPTH} levels; write it flatter")));
        }
        let rule = Rule::deserialize(json).map_err(|error| RuleError::Invalid(error.to_string()))?;
        check(&rule.fault).map_err(RuleError::Invalid)?;
        let (memory, rule) = (rule.memory(), Arc::new(rule));
        self.change(|state| {
            let known = state.list.iter().position(|live| Some(live.id.as_str()) == id);
            if known.is_none() && state.list.len() + elsewhere.rules >= MAX_RULES {
                return Err(RuleError::TooMany(MAX_RULES));
            }
            let replaced = known.map_or(0, |index| state.list[index].memory);
            let taken: usize = state.list.iter().map(|live| live.memory).sum();
            if taken + elsewhere.memory - replaced + memory > MAX_MEMORY {
                return Err(RuleError::NoSpace(MAX_MEMORY));
            }
            let id = match id {
                Some(id) => id.to_owned(),
                None => {
                    state.last_id += 1;
                    format!("rule-{}", state.last_id)
                }
            };
            let put = LiveRule { id, rule, memory };
            match known {
                Some(index) => state.list[index] = put.clone(),
                None => state.list.insert(0, put.clone()),
            }
            Ok(put)
        })
    }

    /// Deletes the rule with this id; returns false if there was none.
    pub fn delete(&self, id: &str) -> bool {
        self.change(|state| {
            let before = state.list.len();
            state.list.retain(|live| live.id != id);
            state.list.len() < before
        })
    }

    /// Deletes all rules.
    pub fn clear(&self) {
        self.change(|state| state.list.clear());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{core::prompt::Prompt, traffic::matcher::chat_request};

    fn put(rules: &LiveRules, id: Option<&str>, rule: &Value) -> Result<LiveRule, RuleError> {
        rules.put(id, rule, Taken::default(), |_| Ok(()))
    }

    fn texts<'s>(faults: impl Iterator<Item = &'s FaultSpec>) -> Vec<String> {
        faults.map(ToString::to_string).collect()
    }

    #[test]
    fn rules_for_one_model_come_before_the_others() {
        let rules: Vec<Rule> = serde_json::from_value(json!([
            {"when": {"model": "gpt-*"}, "fault": "503%5"},
            {"when": {"model": "429"}, "fault": 429},
            {"when": {"model": "429"}, "fault": "ttft=1s"},
        ]))
        .unwrap();
        let set = RuleSet::new(rules);
        let (body, request, prompt) = (json::Object::default(), chat_request(), Prompt::default());
        let read = || &prompt;
        let faults_for = |model: &'static str| {
            let input = MatchInput::new(body, model.into(), &request, &read);
            texts(set.faults_for(model, "", &input))
        };
        assert_eq!(faults_for("429"), ["429", "ttft=1s"]);
        assert_eq!(faults_for("gpt-4o"), ["503%5"]);
        assert!(faults_for("o3").is_empty());
    }

    #[test]
    fn live_rules_are_added_replaced_and_deleted() {
        let rules = LiveRules::default();
        assert!(rules.is_empty());
        let first = put(&rules, None, &json!({"fault": "503"})).unwrap();
        let second = put(&rules, None, &json!({"fault": "hang", "when": {"model": "o3"}})).unwrap();
        put(&rules, Some(&first.id), &json!({"fault": "429"})).unwrap();
        put(&rules, Some("mine"), &json!({"fault": "gzip"})).unwrap();
        let all: Vec<_> = rules.list().into_iter().map(|live| (live.id, live.rule.json()["fault"].clone())).collect();
        assert_eq!(all, [("mine".into(), json!("gzip")), (second.id.clone(), json!("hang")), (first.id, json!("429"))]);
        let (body, request, prompt) = (json::Object::default(), chat_request(), Prompt::default());
        let read = || &prompt;
        let faults = rules.faults_for(&MatchInput::new(body, "o3".into(), &request, &read));
        assert_eq!(texts(faults.iter().map(|(_, fault)| fault)), ["gzip", "hang", "429"]);
        assert!(rules.delete(&second.id) && !rules.delete(&second.id));
        assert!(
            matches!(put(&rules, None, &json!({"fault": "boom"})), Err(RuleError::Invalid(what)) if what.contains("boom"))
        );
        assert!(matches!(put(&rules, None, &json!({"faults": "503"})), Err(RuleError::Invalid(_))));
        for _ in 2..MAX_RULES {
            put(&rules, None, &json!({"fault": "503"})).unwrap();
        }
        assert_eq!(put(&rules, None, &json!({"fault": "503"})).err(), Some(RuleError::TooMany(MAX_RULES)));
        rules.clear();
        assert!(rules.is_empty());
        let elsewhere = Taken { rules: MAX_RULES, memory: 0 };
        let put = rules.put(None, &json!({"fault": "503"}), elsewhere, |_| Ok(()));
        assert_eq!(put.err(), Some(RuleError::TooMany(MAX_RULES)), "rules of other scopes count too");
        let elsewhere = Taken { rules: 1, memory: MAX_MEMORY };
        let put = rules.put(None, &json!({"fault": "503"}), elsewhere, |_| Ok(()));
        assert_eq!(put.err(), Some(RuleError::NoSpace(MAX_MEMORY)));
    }
}
