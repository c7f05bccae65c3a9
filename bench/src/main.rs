//! The benchmark: Onceflow beside the limits of the machine it runs on. `scripts/bench` starts it; docs/benchmarks.md says
//! what each figure means.
//!
//! Arguments → servers → sections, each by turns with its limits → table and file.

mod broker;
mod failure;
mod figures;
mod goals;
mod limits;
mod load;
mod machine;
mod native;
mod pipeline;
mod place;
mod postgres;
mod process;
mod report;
mod rows;
mod sections;
mod settings;
mod subject;

use clap::Parser as _;
use failure::{Doing, Failure, Result};
use figures::Figures;
use place::Place;
use sections::{SECTIONS, Section};
use settings::{Services, Settings};
use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = Settings::parse();
    if settings.list {
        SECTIONS.iter().for_each(|section| println!("{:<16} {}", section.name, section.about));
        return ExitCode::SUCCESS;
    }
    let chosen = match chosen(&settings) {
        Ok(chosen) => chosen,
        Err(failure) => {
            eprintln!("bench: error: {failure}");
            return ExitCode::from(2);
        }
    };
    if settings.check {
        return ExitCode::SUCCESS;
    }
    match measure(settings, &chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("bench: error: {failure}");
            ExitCode::from(1)
        }
    }
}

/// The sections that were asked for.
fn chosen(settings: &Settings) -> Result<Vec<&'static Section>> {
    for name in &settings.only {
        if !SECTIONS.iter().any(|section| section.name == name) {
            let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            return Err(Failure::new(format!("there is no section '{name}'; there are {}", names.join(", "))));
        }
    }
    let wanted = |section: &&Section| match settings.only.as_slice() {
        [] => section.is_quick || !settings.quick,
        only => only.iter().any(|name| name == section.name),
    };
    Ok(SECTIONS.iter().filter(wanted).collect())
}

/// Measures; whether everything that was tried has worked.
fn measure(settings: Settings, chosen: &[&Section]) -> Result<bool> {
    let place = Place::new(settings, Services::from_environment()?)?;
    let mut figures = Figures::default();
    for section in chosen {
        if let Err(failure) = (section.measure)(&place, &mut figures).doing(section.name) {
            eprintln!("bench: FAILED: {failure}");
            figures.failures.push(failure.to_string());
        }
    }
    report::publish(&place, &figures)?;
    Ok(figures.failures.is_empty())
}
