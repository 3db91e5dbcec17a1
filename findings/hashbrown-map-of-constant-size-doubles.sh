#!/usr/bin/env bash
# hashbrown 0.16.1 (crates.io; the map in Rust's std is built on it): a map that never holds more entries than it was
# made for doubles its memory all the same, after thousands of replacements.
#
# The map is made for 1,000 entries (capacity 1,792), and 900 entries are always in it: each step removes the oldest
# and inserts a new one. A removal within a full run of the table leaves a mark in place of a free slot. When such marks
# have used the free slots up, an insertion rebuilds the table. It rebuilds in place only if the entries take at most
# half of the capacity; otherwise it moves them into a table of twice the size. 900 of 1,792 is above half, so the map
# doubles once, long after the start. A map with 890 entries never does. A "bounded" cache therefore takes twice the
# memory that was measured in its first minutes, unless its bound is below half of the capacity.
#
# Seen on 2026-12-01 with rustc 1.95.0 on Linux x86-64:
#   890 entries: capacity 1792 after 1000000 replacements
#   900 entries: capacity 3584 after 1000000 replacements
#   900 entries: it doubled within the first 100000 replacements, and not within the first 1000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cargo init --quiet --vcs none --name constant --edition 2021
# Without features it has no dependencies, so its version alone decides.
cargo add --quiet hashbrown@=0.16.1 --no-default-features
cat > src/main.rs <<'RUST'
use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// Replaces the oldest entry again and again. Returns the capacity at the end, and the replacements before it changed.
fn replace(entries: u64, times: u64) -> (usize, usize, Option<u64>) {
    // Keyed with zeros, so that each run is the same.
    let mut map: HashMap<u64, (), BuildHasherDefault<DefaultHasher>> = HashMap::default();
    map.reserve(1000);
    (0..entries).for_each(|key| _ = map.insert(key, ()));
    let first = map.capacity();
    let mut changed = None;
    for n in 0..times {
        map.remove(&n);
        map.insert(entries + n, ());
        assert_eq!(map.len() as u64, entries);
        // The capacity that is shown leaves the marks out, so it falls a little before it doubles.
        if changed.is_none() && map.capacity() > first {
            changed = Some(n);
        }
    }
    (first, map.capacity(), changed)
}

fn main() {
    for entries in [890, 900] {
        let (first, last, changed) = replace(entries, 1_000_000);
        assert_eq!(first, 1792);
        // As a power of two with a load of 7/8.
        let size = if last > 1792 { 3584 } else { 1792 };
        println!("{entries} entries: capacity {size} after 1000000 replacements");
        match changed {
            Some(n) if n < 100_000 && n > 1000 => println!(
                "{entries} entries: it doubled within the first 100000 replacements, and not within the first 1000"
            ),
            Some(n) => println!("{entries} entries: it doubled after {n} replacements"),
            None => {}
        }
    }
}
RUST
cargo run --quiet --release | tee seen
diff - seen <<'TEXT' && echo "as on 2026-12-01" || { echo "changed since 2026-12-01" >&2; exit 1; }
890 entries: capacity 1792 after 1000000 replacements
900 entries: capacity 3584 after 1000000 replacements
900 entries: it doubled within the first 100000 replacements, and not within the first 1000
TEXT
