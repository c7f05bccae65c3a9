//! Chance from a seed: SplitMix64 (Steele, Lea, Flood 2014), the same numbers on every machine.

/// A stream of numbers that only its seed decides.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        onceflow::chance::next(&mut self.0)
    }

    /// A number below the limit; the limit is not 0. The bias of the remainder does not matter here.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A number from one to the other, both included.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// Whether something happens that happens once in so many times; never where that is 0.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("an index fits in usize")]
    }

    /// A stream of its own, so that what one part draws does not change what another one does.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
