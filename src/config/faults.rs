//! Faults of the configuration, checked against the fixtures.

use super::Config;
use crate::fixtures::{Fixtures, Problem};

impl Config {
    /// Checks the names of errors in the faults and rules: the fixtures have the errors.
    ///
    /// # Errors
    /// One problem for each name that no provider has.
    pub fn check_faults(&self, fixtures: &Fixtures) -> Result<(), Vec<Problem>> {
        let faults = self.faults.iter().map(|fault| ("fault".to_owned(), fault));
        let rules = self.rules.iter().enumerate().map(|(n, rule)| (format!("rules[{n}].fault"), rule.fault()));
        let check = |(setting, fault)| {
            let what = fixtures.check_fault(fault).err()?;
            Some(Problem { file: setting, place: String::new(), what })
        };
        let problems: Vec<_> = faults.chain(rules).filter_map(check).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
