//! The values of labels: a bounded number of names, each with a small number.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use foldhash::fast::RandomState;

use crate::core::secret;

/// Maximum number of different values of one label. Further ones count as [`OTHER`].
const MAX_NAMES: usize = 100;
/// Maximum number of routes. Built-in and custom fixtures have fewer.
const MAX_ROUTES: usize = 4000;
/// Maximum length of a value, in bytes. Longer ones are cut.
const MAX_LENGTH: usize = 200;
/// The value of all names beyond the bound.
const OTHER: &str = "other";

/// The number of a name.
pub(in crate::engine) type Name = u16;

/// The number of the empty name, which most requests have as their deployment.
const EMPTY: Name = 1;

/// The names of one label, in the order of their first use. Number 0 is [`OTHER`], and number 1 the empty name.
pub(super) struct Names {
    max: usize,
    /// True if the names are keys, which are never shown. Keys in other names are masked.
    are_keys: bool,
    list: Mutex<Vec<Arc<str>>>,
}

impl Names {
    /// No models or deployments yet.
    pub(super) fn of_requests() -> Self {
        Names::new(MAX_NAMES, false)
    }

    /// No keys yet.
    pub(super) fn of_keys() -> Self {
        Names::new(MAX_NAMES, true)
    }

    /// No routes yet.
    pub(super) fn of_routes() -> Self {
        Names::new(MAX_ROUTES, false)
    }

    fn new(max: usize, are_keys: bool) -> Self {
        Names { max, are_keys, list: Mutex::new(vec![OTHER.into(), "".into()]) }
    }

    /// Returns the number of a name, which is added unless there are too many.
    fn number(&self, name: &str) -> (Name, Arc<str>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match list.iter().position(|known| **known == *name) {
            Some(at) => at,
            None if list.len() > self.max + usize::from(EMPTY) => 0,
            None => {
                list.push(name.into());
                list.len() - 1
            }
        };
        (Name::try_from(at).unwrap_or(0), Arc::clone(&list[at]))
    }

    /// Returns all names, by their number.
    pub(super) fn list(&self) -> Vec<Arc<str>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The numbers of the names that one shard has met.
#[derive(Default)]
pub(super) struct KnownNames {
    numbers: HashMap<Arc<str>, Name, RandomState>,
    /// The name of the last request, which often is that of the next one too.
    last: Option<(Arc<str>, Name)>,
}

impl KnownNames {
    /// Returns the number of a name.
    pub(super) fn number(&mut self, name: &str, names: &Names) -> Name {
        if name.is_empty() {
            return EMPTY;
        }
        if let Some((_, number)) = self.last.as_ref().filter(|(last, _)| **last == *name) {
            return *number;
        }
        if let Some((known, number)) = self.numbers.get_key_value(name) {
            self.last = Some((Arc::clone(known), *number));
            return *number;
        }
        let kept = cut(name);
        let kept = if names.are_keys { kept.into() } else { secret::in_text(kept) };
        let (number, known) = names.number(&kept);
        if *known == *name {
            self.numbers.insert(known, number);
        }
        number
    }
}

/// Returns the first bytes of a long name.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_LENGTH);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_count_as_other() {
        let (names, mut known) = (Names::of_requests(), KnownNames::default());
        let numbers: Vec<_> = (0..MAX_NAMES + 5).map(|n| known.number(&format!("model-{n}"), &names)).collect();
        assert_eq!((numbers[0], numbers[MAX_NAMES - 1], numbers[MAX_NAMES]), (2, 101, 0));
        assert_eq!(known.number("model-3", &names), 5, "a known name keeps its number");
        assert_eq!((known.number("", &names), &*names.list()[1]), (EMPTY, ""));
        assert_eq!((names.list().len(), &*names.list()[0]), (MAX_NAMES + 2, OTHER));
    }

    #[test]
    fn keys_are_kept_apart_and_masked_in_other_names() {
        let (models, keys, mut known) = (Names::of_requests(), Names::of_keys(), KnownNames::default());
        let [one, other] = ["sk-0123456789-one-abcd", "sk-0123456789-two-abcd"];
        assert_ne!(known.number(one, &keys), known.number(other, &keys));
        KnownNames::default().number(one, &models);
        assert!(models.list().iter().all(|name| !name.contains("one")));
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        let (names, mut known) = (Names::of_requests(), KnownNames::default());
        known.number(&"ä".repeat(500), &names);
        assert_eq!(*names.list()[2], *"ä".repeat(100));
    }
}
