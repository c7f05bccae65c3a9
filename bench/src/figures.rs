//! What was measured: every single run, and what is made of all runs.
//!
//! Owns the names of figures as they come in. What they are compared with stands in [`crate::goals`].

/// Everything that was measured, in the order in which it was first seen.
#[derive(Default, Debug)]
pub struct Figures {
    figures: Vec<Figure>,
    /// What did not work, in words; with any of these the benchmark fails.
    pub failures: Vec<String>,
    /// What was left out, and why. It is shown loudly; the benchmark does not fail.
    pub absent: Vec<String>,
}

/// One figure over all runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// The section that measured it.
    pub section: &'static str,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: &'static str,
    /// Each run, in order.
    pub runs: Vec<f64>,
}

/// What one measurement came to: several figures, each with its unit.
#[derive(Default, Clone, Debug)]
pub struct Sample(Vec<(String, &'static str, f64)>);

impl Sample {
    /// One figure.
    pub fn of(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self::default().and(name, unit, value)
    }

    /// And another one.
    pub fn and(mut self, name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        self.0.push((name.into(), unit, value));
        self
    }
}

impl Figures {
    /// Adds what one measurement of a section came to.
    pub fn add(&mut self, section: &'static str, sample: Sample) {
        for (name, unit, value) in sample.0 {
            match self.figures.iter_mut().find(|figure| figure.name == name) {
                Some(figure) => figure.runs.push(value),
                None => self.figures.push(Figure { section, name, unit, runs: vec![value] }),
            }
        }
    }

    /// Those of all sections.
    pub fn all(&self) -> &[Figure] {
        &self.figures
    }

    /// The figure with a name.
    pub fn named(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

impl Figure {
    /// The middle one of all runs; of an even number the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        median(&self.runs)
    }

    /// The smallest and the largest.
    pub fn range(&self) -> (f64, f64) {
        self.runs.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), run| (low.min(*run), high.max(*run)))
    }

    /// This figure over a limit, run by run: neighbours in time. Runs without a neighbour are left out.
    pub fn ratios(&self, limit: &Self) -> Vec<f64> {
        self.runs.iter().zip(&limit.runs).map(|(own, limit)| own / limit).collect()
    }
}

/// The middle value; of an even number of values the mean of the two in the middle; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which so much of all lies, between neighbours in proportion; NaN of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(quantile(&[0.0, 10.0], 0.99), 9.9);
    }

    #[test]
    fn ratios_are_of_neighbours() {
        let figure = |runs: &[f64]| Figure { section: "s", name: "n".into(), unit: "u", runs: runs.to_vec() };
        assert_eq!(figure(&[1.0, 9.0]).ratios(&figure(&[2.0, 3.0, 4.0])), [0.5, 3.0]);
    }
}
