//! Breadth first, so that the first broken promise comes with a shortest way to it.

use super::action::Action;
use super::promise::Broken;
use super::world::World;
use super::{Bounds, Model, Rules};
use onceflow_core::Fingerprint;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explored {
    /// Different states seen.
    pub states: usize,
    /// Steps on the longest of the shortest ways.
    pub depth: usize,
    /// States in which every record had been applied.
    pub complete: usize,
    /// A broken promise, and the way to it.
    pub broken: Option<(Broken, Vec<Action>)>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} steps deep, {} of them complete", self.states, self.depth, self.complete)?;
        let Some((broken, trace)) = &self.broken else { return Ok(()) };
        write!(f, "\n  broken: {broken}, after {} steps", trace.len())?;
        trace.iter().enumerate().try_for_each(|(step, action)| write!(f, "\n  {:>3}. {action:?}", step + 1))
    }
}

/// How each state was reached first.
#[derive(Debug, Default)]
struct Ways {
    seen: HashSet<u128>,
    bytes: Bytes,
    steps: Vec<(u32, Action)>,
}

/// Goes through every reachable state, or up to the first broken promise.
pub fn explore(rules: Rules, bounds: Bounds) -> Explored {
    let start = World::initial(bounds.log_start);
    let mut search = Search {
        model: Model::new(rules, bounds),
        actions: Action::all(&bounds),
        ways: Ways::default(),
        found: Explored { states: 0, depth: 0, complete: 0, broken: None },
    };
    search.ways.add(&start, 0, Action::Backup);
    let mut layer = vec![(0, start)];
    while !layer.is_empty() && search.found.broken.is_none() {
        layer = search.next_layer(&layer);
        search.found.depth += usize::from(!layer.is_empty());
    }
    search.found.states = search.ways.steps.len();
    search.found
}

struct Search {
    model: Model,
    actions: Vec<Action>,
    ways: Ways,
    found: Explored,
}

impl Search {
    /// The states one step further that were not seen before; none once a promise is broken.
    fn next_layer(&mut self, layer: &[(u32, World)]) -> Vec<(u32, World)> {
        let mut fresh = Vec::new();
        for (number, world) in layer {
            for at in 0..self.actions.len() {
                let action = self.actions[at];
                match self.model.after(world, action) {
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        if let Some(new) = self.ways.add(&next, *number, action) {
                            self.found.complete += usize::from(is_complete(&next));
                            fresh.push((new, next));
                        }
                    }
                    Err(broken) => {
                        self.found.broken = Some((broken, self.ways.to(*number, action)));
                        return Vec::new();
                    }
                }
            }
        }
        fresh
    }
}

impl Ways {
    /// Remembers a state; its number where it was not seen before.
    fn add(&mut self, world: &World, from: u32, action: Action) -> Option<u32> {
        let fingerprint = self.bytes.fingerprint(world);
        self.seen.insert(fingerprint).then(|| {
            self.steps.push((from, action));
            u32::try_from(self.steps.len() - 1).expect("the bounds keep states below 2^32")
        })
    }

    fn to(&self, mut number: u32, last: Action) -> Vec<Action> {
        let mut trace = vec![last];
        while number != 0 {
            let (from, action) = self.steps[usize::try_from(number).expect("32 bits fit")];
            trace.push(action);
            number = from;
        }
        trace.reverse();
        trace
    }
}

/// Collects what a state would feed into a hasher.
#[derive(Debug, Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    /// The state's bytes, hashed to 128 bits: two states with the same are not to be expected before 2^60 of them.
    fn fingerprint(&mut self, world: &World) -> u128 {
        self.0.clear();
        world.hash(self);
        Fingerprint::of_record(0, None, None, Some(&self.0)).get()
    }
}

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.0.push(u8::try_from(discriminant).expect("no enum of the model has more than 256 variants"));
    }

    fn finish(&self) -> u64 {
        unreachable!("only the bytes are used")
    }
}

fn is_complete(world: &World) -> bool {
    let done = |shard: usize| world.home[shard].row.and_then(|row| row.next) == Some(world.log[shard]);
    (0..world.log.len()).all(|shard| done(shard) && world.home[shard].applied.iter().any(|times| *times > 0))
}
