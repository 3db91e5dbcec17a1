//! Parsing of distributions.

use std::{str::FromStr, time::Duration};

use super::{Distribution, Law, Quantile};
use crate::traffic::latency::span::Span;

/// Maximum number of quantiles of a list.
const MAX_QUANTILES: usize = 50;
/// Maximum length of a text in bytes; a ramp of two full lists is displayed in at most 2,406. The two bounds limit the
/// work that a client can cause.
const MAX_LENGTH: usize = 4000;

const FORMS: &str = "300ms±50ms, uniform(100ms,500ms), lognormal(p50=300ms,p99=2s) or ramp(300ms,2s)";

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > MAX_LENGTH {
            let start: String = text.chars().take(20).collect();
            return Err(format!("`{start}…` is too long; write {MAX_LENGTH} bytes at most"));
        }
        let parsed = match parse_call(text) {
            Ok(Some(("ramp", inner))) => ramp(inner),
            _ => law(text).map(|law| Distribution { law, end: None }),
        };
        // An error in a part begins with the full text.
        parsed.map_err(|what| match what.strip_prefix('`').and_then(|what| what.strip_prefix(text)) {
            Some(rest) if rest.starts_with('`') => what,
            _ if text.is_empty() => what,
            _ => format!("`{text}`: {what}"),
        })
    }
}

/// Parses `word(inner)`; `None` if there is no bracket.
fn parse_call(text: &str) -> Result<Option<(&str, &str)>, String> {
    let Some((word, rest)) = text.split_once('(') else { return Ok(None) };
    let inner = rest.strip_suffix(')').ok_or_else(|| format!("`{text}` does not end with its `)`; write {FORMS}"))?;
    Ok(Some((word.trim(), inner)))
}

fn law(text: &str) -> Result<Law, String> {
    let text = text.trim();
    match parse_call(text)? {
        Some(("uniform", inner)) => uniform(inner),
        Some(("lognormal", inner)) => match points(inner)?[..] {
            [a, b] => Ok(Law::LogNormal([a, b])),
            [_] => Err(format!("`{inner}` is one quantile; write two, such as lognormal(p50=300ms,p99=2s)")),
            _ => Err(format!("`{inner}` is more than two quantiles; remove lognormal() and write {inner}")),
        },
        Some(("ramp", _)) => Err(format!("`{text}` is a ramp within a ramp; write its beginning or end")),
        Some((word, _)) => Err(format!("`{word}` is not a distribution; write {FORMS}")),
        None if text.contains(['=', ',']) => match points(text)? {
            points if points.len() == 1 => {
                let always = Span(points[0].time);
                Err(format!(
                    "`{text}` is one quantile; write {always} for a constant, or more quantiles: p50=300ms,p99=2s"
                ))
            }
            points => Ok(Law::Quantiles(points)),
        },
        None => match text.split_once('±').or_else(|| text.split_once("+-")) {
            Some((mean, deviation)) => normal(time(mean)?, time(deviation)?),
            None => time(text).map(Law::Constant),
        },
    }
}

fn time(text: &str) -> Result<Duration, String> {
    text.parse().map(|Span(time)| time)
}

fn normal(mean: Duration, deviation: Duration) -> Result<Law, String> {
    if deviation > mean {
        let (mean, deviation) = (Span(mean), Span(deviation));
        return Err(format!("the deviation {deviation} is above the mean; write {mean}±{mean} or less"));
    }
    Ok(Law::Normal { mean, deviation })
}

fn uniform(inner: &str) -> Result<Law, String> {
    let times = inner.split(',').map(time).collect::<Result<Vec<_>, _>>()?;
    match times[..] {
        [from, to] if from <= to => Ok(Law::Uniform { from, to }),
        [from, to] => Err(format!("{} comes after {1}; write uniform({1},{0})", Span(from), Span(to))),
        _ => Err(format!("`{inner}` is not two times; write uniform(100ms,500ms)")),
    }
}

/// Parses a list of at least one quantile.
fn points(list: &str) -> Result<Vec<Quantile>, String> {
    let mut points: Vec<Quantile> = Vec::new();
    for item in list.split(',') {
        let next = point(item.trim())?;
        if let Some(last) = points.last() {
            if next.share <= last.share {
                let (last, next) = (last.name(), next.name());
                return Err(format!("{next} comes after {last}; write each quantile once, in ascending order"));
            }
            if next.time < last.time {
                return Err(format!("{next} is below {last}; write times that do not fall, such as p50=300ms,p99=2s"));
            }
        }
        if points.len() == MAX_QUANTILES {
            return Err(format!("{next} is one too many; write {MAX_QUANTILES} quantiles at most"));
        }
        points.push(next);
    }
    Ok(points)
}

fn point(item: &str) -> Result<Quantile, String> {
    let (name, time) =
        item.split_once('=').ok_or_else(|| format!("`{item}` is not a quantile; write it as p50=300ms"))?;
    let name = name.trim();
    let share = share(name).ok_or_else(|| {
        format!("`{name}` is not a quantile; write p50 or p99.9: above 0, below 100, at most three decimals")
    })?;
    match self::time(time)? {
        time if time.is_zero() => Err(format!("`{item}` is zero; write a time above 0, such as 1ms")),
        time => Ok(Quantile::new(share, time)),
    }
}

/// Parses `p99.9` as 99,900.
fn share(name: &str) -> Option<u32> {
    let number = name.strip_prefix('p')?;
    let (whole, decimals) = match number.split_once('.') {
        None => (number, "0"),
        Some(parts) => parts,
    };
    let fits =
        |digits: &str, most| (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !fits(whole, 2) || !fits(decimals, 3) {
        return None;
    }
    format!("{whole}{decimals:0<3}").parse().ok().filter(|share| *share > 0)
}

/// Parses the inside of a ramp. Lists have commas too, so each comma is tried: both sides must be distributions.
fn ramp(inner: &str) -> Result<Distribution, String> {
    let mut depth = 0;
    let mut found = None;
    let mut problem: Option<String> = None;
    let mut one_side_valid = false;
    for (at, c) in inner.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => match (law(&inner[..at]), law(&inner[at + 1..])) {
                (Ok(_), Ok(_)) if found.is_some() => {
                    let remedy = "begin the second list with the quantile that the first begins with";
                    return Err(format!("`{inner}` can be split at more than one comma; {remedy}"));
                }
                (Ok(law), Ok(end)) => found = Some(Distribution { law, end: Some(end) }),
                // If the other side is valid, this is most likely the mistake.
                (Ok(_), Err(what)) | (Err(what), Ok(_)) if !one_side_valid => {
                    (problem, one_side_valid) = (Some(what), true)
                }
                (Err(what), _) | (_, Err(what)) => problem = problem.or(Some(what)),
            },
            _ => {}
        }
    }
    let missing = || format!("`{inner}` is not two distributions; write the beginning and the end: ramp(300ms,2s)");
    found.ok_or_else(|| problem.unwrap_or_else(missing))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::traffic::latency::distribution::SHARE_PARTS;

    #[test]
    fn every_form_is_parsed_and_displayed() {
        for (text, shown) in [
            ("300ms", "300ms"),
            ("0", "0s"),
            (" 1500 ms", "1.5s"),
            ("300ms±50ms", "300ms±50ms"),
            ("300ms +- 0.05s", "300ms±50ms"),
            (" uniform( 0s , 0.3ms ) ", "uniform(0s,300us)"),
            ("lognormal (p50=300ms, p99.9=2s)", "lognormal(p50=300ms,p99.9=2s)"),
            ("p0.001=1us , p05.50 = 2us,p99.999=1h", "p0.001=1us,p5.5=2us,p99.999=3600s"),
            ("p50=1s,p99=1s", "p50=1s,p99=1s"),
            ("ramp(300ms, 2s±1s)", "ramp(300ms,2s±1s)"),
            ("ramp(uniform(1s,2s),lognormal(p1=1s,p2=2s))", "ramp(uniform(1s,2s),lognormal(p1=1s,p2=2s))"),
            ("ramp(p50=1s,p90=2s,p50=3s,p90=4s)", "ramp(p50=1s,p90=2s,p50=3s,p90=4s)"),
            ("ramp(1s,p50=3s,p90=4s,p99=5s)", "ramp(1s,p50=3s,p90=4s,p99=5s)"),
            ("ramp(p50=1s,p90=2s,p99=3s,uniform(1s,2s))", "ramp(p50=1s,p90=2s,p99=3s,uniform(1s,2s))"),
        ] {
            let read: Distribution = text.parse().unwrap_or_else(|problem| panic!("{problem}"));
            assert_eq!(read.to_string(), shown);
            assert_eq!(shown.parse(), Ok(read));
        }
    }

    #[test]
    fn every_mistake_is_reported_with_its_place_and_a_remedy() {
        for (text, expected) in [
            ("", "a time is missing; write 300ms"),
            ("300", "`300` has no unit; write 300ms or 300s"),
            ("300±50ms", "`300±50ms`: `300` has no unit; write 300ms or 300s"),
            ("300ms±", "`300ms±`: a time is missing; write 300ms"),
            ("-300ms", "`-300ms` is not a time; write 300ms, 1.5s or 20us"),
            ("2h", "`2h` is more than an hour; write 1h or less"),
            ("300ms±2h", "`300ms±2h`: `2h` is more than an hour; write 1h or less"),
            ("5ms±6ms", "`5ms±6ms`: the deviation 6ms is above the mean; write 5ms±5ms or less"),
            ("uniform(2s,1s)", "`uniform(2s,1s)`: 2s comes after 1s; write uniform(1s,2s)"),
            ("uniform(2s)", "`uniform(2s)`: `2s` is not two times; write uniform(100ms,500ms)"),
            ("uniform(1s,2s,3s)", "`uniform(1s,2s,3s)`: `1s,2s,3s` is not two times; write uniform(100ms,500ms)"),
            ("uniform(1s,)", "`uniform(1s,)`: a time is missing; write 300ms"),
            ("uniform(1s,2s", "`uniform(1s,2s` does not end with its `)`; write 300ms±50ms, uniform"),
            (
                "gauss(1s,2s)",
                "`gauss(1s,2s)`: `gauss` is not a distribution; write 300ms±50ms, uniform(100ms,500ms), lognormal(",
            ),
            ("lognormal(p50=1s)", "`lognormal(p50=1s)`: `p50=1s` is one quantile; write two, such as lognormal(p50="),
            (
                "lognormal(p1=1s,p2=1s,p3=1s)",
                "`lognormal(p1=1s,p2=1s,p3=1s)`: `p1=1s,p2=1s,p3=1s` is more than two quantiles; remove",
            ),
            ("lognormal(300ms,2s)", "`lognormal(300ms,2s)`: `300ms` is not a quantile; write it as p50=300ms"),
            (
                "lognormal(p50=2s,p99=1s)",
                "`lognormal(p50=2s,p99=1s)`: p99=1s is below p50=2s; write times that do not fall",
            ),
            (
                "p50=300ms",
                "`p50=300ms` is one quantile; write 300ms for a constant, or more quantiles: p50=300ms,p99=2s",
            ),
            ("p90=1s,p50=2s", "`p90=1s,p50=2s`: p50 comes after p90; write each quantile once, in ascending order"),
            ("p50=1s,p50.0=2s", "`p50=1s,p50.0=2s`: p50 comes after p50; write each quantile once, in ascending order"),
            ("p50=0s,p90=1s", "`p50=0s,p90=1s`: `p50=0s` is zero; write a time above 0, such as 1ms"),
            ("p50=1s,", "`p50=1s,`: `` is not a quantile; write it as p50=300ms"),
            (
                "p50=1s,p100=2s",
                "`p50=1s,p100=2s`: `p100` is not a quantile; write p50 or p99.9: above 0, below 100, at most three",
            ),
            ("p50=1s,p90=2", "`p50=1s,p90=2`: `2` has no unit; write 2ms or 2s"),
            ("1s,2s", "`1s,2s`: `1s` is not a quantile; write it as p50=300ms"),
            ("ramp(1s)", "`ramp(1s)`: `1s` is not two distributions; write the beginning and the end: ramp(300ms,2s)"),
            ("ramp(1s,2)", "`ramp(1s,2)`: `2` has no unit; write 2ms or 2s"),
            ("ramp(uniform(1s,2),3s)", "`ramp(uniform(1s,2),3s)`: `2` has no unit; write 2ms or 2s"),
            ("ramp(1s,2s,3s)", "`ramp(1s,2s,3s)`: `2s` is not a quantile; write it as p50=300ms"),
            (
                "ramp(1s,ramp(1s,2s))",
                "`ramp(1s,ramp(1s,2s))`: `ramp(1s,2s)` is a ramp within a ramp; write its beginning",
            ),
            ("ramp(p50=1s,p90=2s)", "`ramp(p50=1s,p90=2s)`: `p50=1s` is one quantile; write 1s for a constant"),
            (
                "ramp(p1=1s,p2=2s,p3=3s,p4=4s,p5=5s)",
                "`ramp(p1=1s,p2=2s,p3=3s,p4=4s,p5=5s)`: `p1=1s,p2=2s,p3=3s,p4=4s,p5=5s` can be split at more than one",
            ),
        ] {
            let problem = text.parse::<Distribution>().expect_err(text);
            assert!(problem.starts_with(expected), "{text}\nreports  {problem}\nexpected {expected}");
        }
        for name in ["p0", "p0.000", "p50.", "p.5", "p1.0001", "p+5", "pp", "50", "p-1", "p1e1", "P50", ""] {
            assert_eq!(share(name), None, "{name}");
        }
        let list = |number| (1..=number).map(|n| format!("p{n}=3599.123456789s")).collect::<Vec<_>>().join(",");
        assert_eq!(list(50).parse::<Distribution>().unwrap().to_string(), list(50));
        let many = list(51).parse::<Distribution>().unwrap_err();
        assert!(many.ends_with(": p51=3599.123456789s is one too many; write 50 quantiles at most"), "{many}");
        let long = format!("p1=1s{}", ",p2=2s".repeat(1000)).parse::<Distribution>().unwrap_err();
        assert_eq!(long, "`p1=1s,p2=2s,p2=2s,p2…` is too long; write 4000 bytes at most");
    }

    /// Generates times of all magnitudes, from a nanosecond to an hour.
    fn times(number: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<Span>> {
        let time = (0.0..=1.0).prop_map(|size| Span(Duration::from_nanos(3.6e12_f64.powf(size) as u64)));
        proptest::collection::vec(time, number).prop_map(|mut times| {
            times.sort_by_key(|time| time.0);
            times
        })
    }

    fn lists(number: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
        times(number).prop_flat_map(|times| {
            let shares = proptest::collection::btree_set(1..SHARE_PARTS, times.len());
            let list = move |shares: std::collections::BTreeSet<u32>| {
                let points =
                    shares.into_iter().zip(&times).map(|(share, time)| Quantile::new(share, time.0).to_string());
                points.collect::<Vec<_>>().join(",")
            };
            shares.prop_map(list)
        })
    }

    fn laws() -> impl Strategy<Value = String> {
        prop_oneof![
            times(1..=1).prop_map(|times| times[0].to_string()),
            times(2..=2).prop_map(|times| format!("{}±{}", times[1], times[0])),
            times(2..=2).prop_map(|times| format!("uniform({},{})", times[0], times[1])),
            lists(2..=2).prop_map(|list| format!("lognormal({list})")),
            lists(2..=6),
        ]
    }

    fn distributions() -> impl Strategy<Value = Distribution> {
        let ramps = (laws(), laws()).prop_filter_map("an ambiguous ramp", |(a, b)| {
            let read = format!("ramp({a},{b})").parse();
            let ambiguous = |problem: &String| problem.contains("can be split");
            (!read.as_ref().is_err_and(ambiguous)).then_some(read)
        });
        let read = prop_oneof![3 => laws().prop_map(|law| law.parse()), 1 => ramps];
        read.prop_map(|read: Result<Distribution, String>| read.unwrap_or_else(|problem| panic!("{problem}")))
    }

    proptest! {
        #[test]
        fn a_displayed_distribution_is_parsed_again(distribution in distributions()) {
            prop_assert_eq!(distribution.to_string().parse(), Ok(distribution));
        }

        #[test]
        fn quantiles_never_fall_and_never_exceed_an_hour(
            distribution in distributions(), mut ps in proptest::collection::vec(0.0..1.0, 20), progress in 0.0..=1.0,
        ) {
            ps.extend([0.0, f64::MIN_POSITIVE, 0.075, 0.5, 0.925, 1.0 - f64::EPSILON, 1.0]);
            ps.sort_by(f64::total_cmp);
            let mut last = Duration::ZERO;
            for p in ps {
                let next = distribution.quantile_at(p, progress);
                prop_assert!(last <= next && next <= Span::MAX, "{} at {}: {:?} after {:?}", distribution, p, next, last);
                last = next;
            }
        }

        #[test]
        fn a_list_has_each_given_quantile(list in lists(2..=6)) {
            let read: Distribution = list.parse().unwrap_or_else(|problem| panic!("{problem}"));
            let Law::Quantiles(points) = &read.law else { panic!("{list}") };
            for point in points {
                prop_assert_eq!(read.quantile_at(f64::from(point.share) / f64::from(SHARE_PARTS), 0.0), point.time);
            }
        }

        #[test]
        fn every_text_is_parsed_or_refused(text in "(ramp|uniform|lognormal|p|[0-9.()=,±+-]|ms|s| ){0,20}|\\PC{0,40}") {
            if let Ok(read) = text.parse::<Distribution>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
        }
    }
}
