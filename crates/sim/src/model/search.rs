//! Breadth first, so that the first broken promise comes with a shortest way to it.

use super::action::Action;
use super::promise::Broken;
use super::world::World;
use super::{Bounds, Model, Rules};
use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

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
    steps: Vec<(u32, Action)>,
}

/// Goes through every reachable state, or up to the first broken promise.
pub fn explore(rules: Rules, bounds: Bounds) -> Explored {
    let mut model = Model::new(rules, bounds);
    let actions = Action::all(&bounds);
    let mut ways = Ways::default();
    let start = World::initial(bounds.log_start);
    let mut layer = vec![(ways.add(&start, 0, Action::Backup).expect("nothing was seen before"), start)];
    let mut found = Explored { states: 1, depth: 0, complete: 0, broken: None };
    while !layer.is_empty() {
        let mut next_layer = Vec::new();
        for (number, world) in &layer {
            for action in &actions {
                match model.after(world, *action) {
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        if let Some(fresh) = ways.add(&next, *number, *action) {
                            found.complete += usize::from(is_complete(&next));
                            next_layer.push((fresh, next));
                        }
                    }
                    Err(broken) => {
                        found.broken = Some((broken, ways.to(*number, *action)));
                        found.states = ways.steps.len();
                        return found;
                    }
                }
            }
        }
        found.depth += usize::from(!next_layer.is_empty());
        layer = next_layer;
    }
    found.states = ways.steps.len();
    found
}

impl Ways {
    /// Remembers a state; its number where it was not seen before.
    fn add(&mut self, world: &World, from: u32, action: Action) -> Option<u32> {
        self.seen.insert(fingerprint(world)).then(|| {
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

/// 128 bits of two differently seeded hashes: two states with the same are not to be expected before 2^60 of them.
fn fingerprint(world: &World) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        world.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    (half(1) << 64) | half(2)
}

fn is_complete(world: &World) -> bool {
    let done = |shard: usize| world.home[shard].row.and_then(|row| row.next) == Some(world.log[shard]);
    (0..world.log.len()).all(|shard| done(shard) && world.home[shard].applied.iter().any(|times| *times > 0))
}
