//! Instances of JSON Schemas: the text of a reply with structured output.

mod check;
mod kind;
mod number;
mod pattern;
mod text;

use std::collections::{HashMap, HashSet, VecDeque};

use crate::core::random::Random;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use kind::{ALL, ARRAY, BOOLEAN, INTEGER, NULL, NUMBER, OBJECT, STRING, inferred, kinds, named_kind, named_kinds};

/// Makes an instance of a JSON Schema: `{"type": "object", "properties": {"n": {"type": "integer"}}}` gives `{"n": 7}`.
/// The same state of `random` gives the same instance.
///
/// The instance has every property, in the order of the schema, one item per array and one entry per map. A recursive
/// schema gives only required properties inside itself. Of `anyOf` and `oneOf`, the first branch that is not null is
/// used; of `enum`, any value. A valid `default` is used, or else the first of `examples`, but not `null`.
///
/// Limits of the support:
/// - `not`, `if` and `patternProperties` are ignored, and a second matching branch of `oneOf` is not noticed.
/// - A pattern that cannot be parsed is ignored. Several bounds or patterns that barely overlap may be missed.
/// - An unsatisfiable or invalid schema gives an approximation, such as `null`.
/// - A string or array has at most 10,000 characters or items, the instance 32,768 characters and values. The same
///   reference is followed at most four times inside itself.
pub fn instance(schema: &Value, random: &mut Random) -> Value {
    let mut maker = Maker {
        root: schema,
        random,
        trail: vec![std::ptr::from_ref(schema).addr()],
        depth: 0,
        terse: false,
        vary: false,
        room: ROOM,
        fuel: FUEL,
        known: HashMap::new(),
    };
    maker.make(&[schema])
}

/// Maximum number of characters of a string, and of items of an array.
const LONGEST: usize = 10_000;
/// Maximum number of characters and values of an instance.
const ROOM: usize = 32_768;
/// Maximum number of computation steps.
const FUEL: usize = 1_000_000;
/// The depth from which only required properties are made.
const DEEP: usize = 64;
/// The depth at which nesting ends. JSON parsers stop at 128.
const DEEPEST: usize = 120;
/// Maximum number of nested references that are followed to find out whether they end.
const REFS: usize = 32;
/// Maximum number of schemas that apply to one value.
const LAYERS: usize = 256;

/// A schema that is an object. Several schemas that apply to one value are its layers.
type Layer = Map<String, Value>;

struct Maker<'a, 'r> {
    root: &'a Value,
    random: &'r mut Random,
    /// The references from the root to the current value, as the addresses of their targets.
    trail: Vec<usize>,
    depth: usize,
    /// True if only required properties are made.
    terse: bool,
    /// True if values must differ: defaults are not used.
    vary: bool,
    room: usize,
    fuel: usize,
    /// Results of `target_is_finite`, by target address and number of references.
    known: HashMap<(usize, usize), bool>,
}

impl<'a> Maker<'a, '_> {
    fn spend(&mut self, steps: usize) -> bool {
        self.fuel = self.fuel.saturating_sub(steps);
        self.fuel > 0
    }

    fn take(&mut self, room: usize) -> bool {
        let enough = self.room >= room;
        self.room = self.room.saturating_sub(room);
        enough
    }

    /// Makes a value that is valid for all of `schemas`.
    fn make(&mut self, schemas: &[&'a Value]) -> Value {
        let (trail, terse) = (self.trail.len(), self.terse);
        self.depth += 1;
        self.terse |= self.depth > DEEP;
        let layers = if self.take(1) && self.depth <= DEEPEST { self.layers(schemas) } else { None };
        let value = layers.map_or(Value::Null, |layers| self.value(&layers));
        self.depth -= 1;
        self.terse = terse;
        self.trail.truncate(trail);
        value
    }

    /// Collects the layers of a value: the schemas, the targets of their references, and one branch of every choice.
    /// `None` if they are unsatisfiable.
    fn layers(&mut self, schemas: &[&'a Value]) -> Option<Vec<&'a Layer>> {
        let mut open: Vec<&Value> = schemas.iter().rev().copied().collect();
        let mut layers: Vec<&Layer> = Vec::new();
        let mut choices = VecDeque::new();
        loop {
            while let Some(schema) = open.pop() {
                let layer = match schema {
                    Value::Object(layer) => layer,
                    Value::Bool(true) => continue,
                    _ => return None,
                };
                if layers.len() >= LAYERS || !self.spend(1 + layers.len()) {
                    return Some(layers);
                }
                if layers.iter().any(|known| std::ptr::eq(*known, layer)) {
                    continue;
                }
                layers.push(layer);
                let list = |key: &str| layer.get(key).and_then(Value::as_array);
                choices.extend(list("anyOf").into_iter().chain(list("oneOf")));
                open.extend(list("allOf").map_or(&[][..], Vec::as_slice).iter().take(LAYERS).rev());
                if let Some(target) = self.target(layer) {
                    self.enter(target)?;
                    open.push(target);
                }
            }
            let Some(branches) = choices.pop_front() else {
                return Some(layers);
            };
            open.extend(self.choose(branches, &layers));
        }
    }

    /// Returns the target of a layer's `$ref` within this document: a pointer after `#`. Some gateways strip the `#`.
    fn target(&mut self, layer: &Layer) -> Option<&'a Value> {
        let reference = layer.get("$ref")?.as_str()?;
        let pointer = reference.split_once('#').map_or(reference, |(_, pointer)| pointer);
        self.spend(pointer.len());
        self.root.pointer(&percent_decode_str(pointer).decode_utf8_lossy())
    }

    /// Records that a reference is followed. From the second time inside itself only required properties are made.
    /// `None` from the fifth time: such a schema has no finite instance.
    fn enter(&mut self, target: &'a Value) -> Option<()> {
        let address = std::ptr::from_ref(target).addr();
        let times = self.trail.iter().filter(|known| **known == address).count();
        self.trail.push(address);
        self.terse |= times > 0;
        (times < 4).then_some(())
    }

    /// Chooses the first branch that is not null, is compatible with the layers and ends. If `terse`, it chooses the
    /// one with the fewest nested references.
    fn choose(&mut self, branches: &'a [Value], layers: &[&'a Layer]) -> Option<&'a Value> {
        if !self.spend(branches.len()) {
            return None;
        }
        let allowed = layers.iter().fold(ALL, |allowed, layer| allowed & kinds(layer));
        let kinds: Vec<(&Value, u8)> = branches.iter().map(|branch| (branch, self.branch_kinds(branch))).collect();
        let mut possible: Vec<_> = kinds.iter().filter(|(_, kinds)| kinds & allowed != 0).collect();
        possible.sort_by_key(|(_, kinds)| *kinds == NULL);
        for refs in if self.terse { 0..=REFS } else { REFS..=REFS } {
            if let Some((branch, _)) = possible.iter().find(|(branch, _)| self.is_finite(branch, refs, 0)) {
                return Some(branch);
            }
        }
        possible.first().map(|(branch, _)| *branch).or(branches.first())
    }

    fn branch_kinds(&mut self, branch: &'a Value) -> u8 {
        let (mut allowed, mut next) = (ALL, branch.as_object());
        for _ in 0..8 {
            let Some(layer) = next else { break };
            allowed &= kinds(layer);
            next = self.target(layer).and_then(Value::as_object);
        }
        allowed
    }

    fn value(&mut self, layers: &[&'a Layer]) -> Value {
        if let Some(listed) = self.listed_value(layers) {
            return if self.affords(listed, 0) { listed.clone() } else { Value::Null };
        }
        let kind = self.kind(layers);
        if kind & (NUMBER | INTEGER) != 0 {
            return number::number(layers, kind & NUMBER == 0, self.vary, self.random);
        }
        match kind {
            BOOLEAN => Value::Bool(below(self.random, 2) == 1),
            STRING => {
                let text = text::text(layers, self.room, self.random, &mut self.fuel);
                self.take(text.len());
                Value::String(text)
            }
            ARRAY => self.array(layers),
            OBJECT => self.object(layers),
            _ => Value::Null,
        }
    }

    /// Chooses a value that the schema lists itself.
    fn listed_value(&mut self, layers: &[&'a Layer]) -> Option<&'a Value> {
        if let Some(only) = all(layers, "const").next() {
            return Some(only);
        }
        if let Some(values) = all(layers, "enum").filter_map(Value::as_array).find(|values| !values.is_empty()) {
            let (before, after) = values.split_at(below(self.random, values.len()));
            let mut values = after.iter().chain(before);
            let valid = values.clone().find(|value| !value.is_null() && self.all_valid(value, layers));
            return valid.or_else(|| values.clone().find(|value| value.is_null())).or_else(|| values.next());
        }
        if self.vary {
            return None;
        }
        let default = all(layers, "default").next();
        let example = all(layers, "examples").filter_map(Value::as_array).find_map(|examples| examples.first());
        [default, example].into_iter().flatten().find(|value| !value.is_null() && self.all_valid(value, layers))
    }

    fn all_valid(&mut self, value: &Value, layers: &[&'a Layer]) -> bool {
        layers.iter().all(|layer| self.is_valid_for_layer(value, layer, 0))
    }

    /// Takes the room for a copy of `value`. Returns false if there is too little.
    fn affords(&mut self, value: &Value, depth: usize) -> bool {
        let depth = depth + 1;
        self.depth + depth <= DEEPEST
            && match value {
                Value::String(text) => self.take(text.len() + 1),
                Value::Array(items) => self.take(1) && items.iter().all(|item| self.affords(item, depth)),
                Value::Object(members) => {
                    let mut members = members.iter();
                    self.take(1) && members.all(|(name, member)| self.take(name.len()) && self.affords(member, depth))
                }
                _ => self.take(1),
            }
    }

    /// Returns the kind of value to make: the first of `type` that is not null, or else the one its keywords imply.
    fn kind(&self, layers: &[&Layer]) -> u8 {
        let allowed = layers.iter().fold(ALL, |allowed, layer| allowed & kinds(layer));
        let Some(first) = layers.iter().filter_map(|layer| layer.get("type")).find(|names| named_kinds(names) != 0)
        else {
            return inferred(layers);
        };
        // Of contradictory types, the first one is used.
        let allowed = if allowed == 0 { named_kinds(first) } else { allowed };
        let names = first.as_array().map_or(std::slice::from_ref(first), Vec::as_slice);
        let kinds = || names.iter().map(|name| named_kind(name) & allowed).filter(|kind| *kind != 0);
        let simple = kinds().find(|kind| self.terse && kind & (OBJECT | ARRAY) == 0);
        simple.or_else(|| kinds().find(|kind| *kind != NULL)).unwrap_or(NULL)
    }

    fn object(&mut self, layers: &[&'a Layer]) -> Value {
        let required: Vec<&str> =
            all(layers, "required").filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
        self.spend(required.len());
        let is_required: HashSet<&str> = required.iter().copied().collect();
        let most = most(layers, "maxProperties");
        let mut spare = most.saturating_sub(is_required.len());
        let mut object = Map::new();
        let properties = || all(layers, "properties").filter_map(Value::as_object);
        for name in properties().flat_map(Map::keys).map(String::as_str).chain(required) {
            if object.contains_key(name) || !self.spend(1) {
                continue;
            }
            let member = member(layers, name);
            if !is_required.contains(name) {
                if self.terse || spare == 0 || !member.iter().all(|schema| self.is_finite(schema, REFS, 0)) {
                    continue;
                }
                spare -= 1;
            }
            if !self.take(name.len()) {
                break;
            }
            let value = self.make(&member);
            object.insert(name.to_owned(), value);
        }

        let more: Vec<&Value> = all(layers, "additionalProperties").collect();
        let free = object.is_empty() && !self.terse && more.iter().any(|schema| schema.is_object());
        let wanted = least(layers, "minProperties").max(usize::from(free)).min(most).min(LONGEST);
        if object.len() < wanted && more.iter().all(|schema| self.is_finite(schema, REFS, 0)) {
            let names: Vec<&Value> = all(layers, "propertyNames").collect();
            let mut tries = 2 * (wanted - object.len()) + 20;
            while object.len() < wanted && tries > 0 && self.room > 0 && self.fuel > 0 {
                tries -= 1;
                let vary = std::mem::replace(&mut self.vary, true);
                let name = match self.make(&names) {
                    Value::String(name) if !names.is_empty() => name,
                    _ => format!("{}{}", text::word(self.random), object.len() + 1),
                };
                self.vary = vary;
                if !object.contains_key(&name) && self.take(name.len()) {
                    let value = self.make(&more);
                    object.insert(name, value);
                }
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, layers: &[&'a Layer]) -> Value {
        let prefix = layers.iter().filter_map(|layer| prefix(layer)).map(Vec::len).max().unwrap_or(0);
        let (least, most) = (least(layers, "minItems"), most(layers, "maxItems"));
        let contained: Vec<&Value> = layers
            .iter()
            .filter_map(|layer| Some((*layer, layer.get("contains")?)))
            .flat_map(|(layer, schema)| {
                let times = if layer.contains_key("minContains") { self::least(&[layer], "minContains") } else { 1 };
                std::iter::repeat_n(schema, times.min(LONGEST))
            })
            .collect();
        let free = prefix + contained.len().max(usize::from(!self.terse && prefix == 0));
        let wanted = free.max(least).min(most).min(LONGEST);
        let unique = layers.iter().any(|layer| layer.get("uniqueItems") == Some(&Value::Bool(true)));
        let vary = self.vary;
        self.vary |= unique && wanted > 1;
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        let mut tries = if unique { 2 * wanted + 100 } else { wanted };
        while items.len() < wanted && tries > 0 && self.room > 0 && self.spend(1) {
            tries -= 1;
            let at = items.len();
            let mut schemas: Vec<&Value> = layers.iter().filter_map(|layer| item(layer, at)).collect();
            schemas.extend(at.checked_sub(prefix).and_then(|at| contained.get(at)));
            if at >= least && !schemas.iter().all(|schema| self.is_finite(schema, REFS, 0)) {
                break;
            }
            let item = self.make(&schemas);
            if !unique || seen.insert(item.to_string()) {
                items.push(item);
            }
        }
        self.vary = vary;
        Value::Array(items)
    }
}

/// Returns the values of a keyword in all layers.
fn all<'s, 'a: 's>(layers: &'s [&'a Layer], key: &'s str) -> impl Iterator<Item = &'a Value> + Clone + 's {
    layers.iter().filter_map(move |layer| layer.get(key))
}

fn least(layers: &[&Layer], key: &str) -> usize {
    // `as usize` saturates: a negative bound becomes 0.
    all(layers, key).filter_map(Value::as_f64).map(|bound| bound.ceil() as usize).max().unwrap_or(0)
}

fn most(layers: &[&Layer], key: &str) -> usize {
    all(layers, key).filter_map(Value::as_f64).map(|bound| bound as usize).min().unwrap_or(usize::MAX)
}

/// Returns the schemas of a member. A layer without the member does not forbid it, against the letter of JSON Schema:
/// authors write intersections like that.
fn member<'a>(layers: &[&'a Layer], name: &str) -> Vec<&'a Value> {
    let property = |layer: &&'a Layer| layer.get("properties").and_then(|properties| properties.get(name));
    let more = |layer: &&'a Layer| layer.get("additionalProperties").filter(|schema| schema.is_object());
    layers.iter().filter_map(|layer| property(layer).or_else(|| more(layer))).collect()
}

/// Returns the schemas of the first items: `prefixItems`, or the array form of `items` in older drafts.
fn prefix(layer: &Layer) -> Option<&Vec<Value>> {
    layer.get("prefixItems").or_else(|| layer.get("items")).and_then(Value::as_array)
}

fn item(layer: &Layer, at: usize) -> Option<&Value> {
    let rest = if layer.get("items").is_some_and(Value::is_array) { "additionalItems" } else { "items" };
    prefix(layer).and_then(|prefix| prefix.get(at)).or_else(|| layer.get(rest))
}

/// Returns a random number below `n`; 0 if `n` is 0.
fn below(random: &mut Random, n: usize) -> usize {
    random.index(n.max(1))
}
