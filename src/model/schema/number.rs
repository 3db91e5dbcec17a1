//! Numbers between bounds, in exact decimal arithmetic: 0.1 has no exact binary fraction, and some clients check
//! `multipleOf: 0.1` exactly.

use serde_json::{Number, Value};

use super::{Layer, Random, all, below};

/// Maximum magnitude of bounds and steps; arithmetic is not exact beyond it.
const FARTHEST: i128 = 100_000_000_000_000_000_000;
/// Maximum number of decimal places.
const MOST_PLACES: u32 = 15;

/// Makes a number that is valid for the layers' `minimum`, `maximum`, `exclusive…` and `multipleOf`. If possible it is
/// in 1..=100 (1..=1000000 if `vary`), and has one decimal place if it is not an integer. If no number is valid, it is
/// the one next to the minimum.
pub fn number(layers: &[&Layer], integer: bool, vary: bool, random: &mut Random) -> Value {
    let (lows, highs) = (bounds(layers, "minimum", "exclusiveMinimum"), bounds(layers, "maximum", "exclusiveMaximum"));
    let far = |(bound, _): &&(&Number, bool)| bound.as_f64().is_some_and(|bound| bound.abs() > FARTHEST as f64);
    let too_high = lows.iter().find(far).filter(|(bound, _)| bound.as_f64() > Some(0.0));
    let too_low = highs.iter().find(far).filter(|(bound, _)| bound.as_f64() < Some(0.0));
    if let Some((bound, _)) = too_high.or(too_low) {
        return Value::Number((*bound).clone());
    }

    let exact = |bounds: Vec<(&Number, bool)>| -> Vec<(Decimal, bool)> {
        bounds.into_iter().filter_map(|(bound, exclusive)| Some((Decimal::of(bound)?, exclusive))).collect()
    };
    let (lows, highs) = (exact(lows), exact(highs));
    let steps: Vec<Decimal> = all(layers, "multipleOf")
        .filter_map(Value::as_number)
        .filter_map(Decimal::of)
        .filter(|step| step.units > 0)
        .collect();

    // One more place than the bounds have: then a number exists between any two bounds, even exclusive ones.
    let written = lows.iter().chain(&highs).map(|(bound, _)| bound).chain(&steps).map(|decimal| decimal.places);
    let places = written.max().unwrap_or(0) + 1;
    let one = 10i128.pow(places);
    let low = lows.iter().map(|(bound, exclusive)| bound.at(places) + i128::from(*exclusive)).max();
    let high = highs.iter().map(|(bound, exclusive)| bound.at(places) - i128::from(*exclusive)).min();

    let given = steps.iter().map(|step| step.at(places)).reduce(common_multiple);
    let grid = match given {
        Some(step) if integer => common_multiple(step, one),
        Some(step) => step,
        None if integer => one,
        None => {
            let fits = |step: &i128| low.zip(high).is_none_or(|(low, high)| ceil(low, *step) <= high.div_euclid(*step));
            (0..places).rev().map(|place| 10i128.pow(place)).find(fits).unwrap_or(1)
        }
    };
    let (low, high) = (low.map(|low| ceil(low, grid)), high.map(|high| high.div_euclid(grid)));
    let usual = if vary { 1_000_000 } else { 100 };
    let (first, last) = usual_part(low, high, ceil(one, grid).max(1), usual * one / grid);
    let span = usize::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(1).min(1_000_000);
    let units = (first + below(random, span) as i128).saturating_mul(grid);

    if integer || (given.is_some() && units % one == 0) {
        let whole = units / one;
        let number = i64::try_from(whole).map(Number::from).or_else(|_| u64::try_from(whole).map(Number::from));
        return number.map_or_else(|_| Value::from(whole as f64), Value::Number);
    }
    format!("{units}e-{places}").parse::<f64>().map_or(Value::Null, Value::from)
}

/// Returns the part of `low..=high` to draw from: all of a small range, or else the overlap with the usual range.
fn usual_part(low: Option<i128>, high: Option<i128>, usual_low: i128, usual_high: i128) -> (i128, i128) {
    let usual_high = usual_high.max(usual_low);
    match (low, high) {
        (Some(low), Some(high)) if high.saturating_sub(low) <= 10_000 => (low, high),
        (Some(low), high) if low > usual_high => (low, high.unwrap_or(i128::MAX).min(low + 99)),
        (low, Some(high)) if high < usual_low => (low.unwrap_or(i128::MIN).max(high - 99), high),
        (low, high) => (low.unwrap_or(usual_low).max(usual_low), high.unwrap_or(usual_high).min(usual_high)),
    }
}

/// Returns every bound, and true if it is exclusive. `exclusiveMinimum` is a number; in draft 4 it is a boolean that
/// applies to `minimum`.
fn bounds<'l>(layers: &[&'l Layer], inclusive: &str, exclusive: &str) -> Vec<(&'l Number, bool)> {
    let mut bounds = Vec::new();
    for layer in layers {
        let exclusive = layer.get(exclusive);
        let strict = exclusive.and_then(Value::as_bool).unwrap_or(false);
        bounds.extend(layer.get(inclusive).and_then(Value::as_number).map(|bound| (bound, strict)));
        bounds.extend(exclusive.and_then(Value::as_number).map(|bound| (bound, true)));
    }
    bounds
}

/// `units / 10^places`.
#[derive(Clone, Copy)]
struct Decimal {
    units: i128,
    places: u32,
}

impl Decimal {
    fn of(number: &Number) -> Option<Self> {
        // `Display` of a float never uses an exponent.
        let text = number.as_f64().filter(|_| number.is_f64()).map_or_else(|| number.to_string(), |f| f.to_string());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= MOST_PLACES)?;
        let units: i128 = format!("{whole}{fraction}").parse().ok()?;
        let farthest = FARTHEST * 10i128.pow(places);
        Some(Decimal { units: units.clamp(-farthest, farthest), places })
    }

    fn at(self, places: u32) -> i128 {
        self.units * 10i128.pow(places - self.places)
    }
}

fn ceil(number: i128, step: i128) -> i128 {
    number.div_euclid(step) + i128::from(number.rem_euclid(step) != 0)
}

/// Returns the least common multiple, or `a` if it is too large.
fn common_multiple(a: i128, b: i128) -> i128 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).checked_mul(b).filter(|multiple| *multiple < i128::MAX / 1_000_000_000).unwrap_or(a)
}
