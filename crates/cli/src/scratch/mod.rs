//! A pipeline turned to scratch copies, as `ONCEFLOW_SCRATCH` says: other homes, and the first records of its sources only.
//!
//! `torture` writes the plan and starts processes with it. The real homes and the consumer groups are out of reach afterwards:
//! every home must be named in the plan and carry the plan's token, or nothing runs.

mod source;

pub use source::Part;

use onceflow::home::HomeFactory;
use onceflow::pipeline::Pipeline;
use onceflow::run::on_this_thread;
use onceflow::source::SourceFactory;
use onceflow::{Error, codes};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// The environment variable that names the plan.
pub const VARIABLE: &str = "ONCEFLOW_SCRATCH";

/// What stands in for what.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// What every scratch carries.
    pub token: String,
    /// An epoch closes at so many records at the latest, so that there are several.
    pub rows_max: usize,
    /// For each home, in the order of the branches.
    pub homes: Vec<Stand>,
    /// Through which socket Kafka's brokers are reached; directly where there is none.
    pub brokers: Option<SocketAddr>,
    /// What is read.
    pub parts: Vec<Part>,
}

/// A scratch that stands in for a home.
#[derive(Clone, PartialEq, Debug)]
pub struct Stand {
    /// The real home, as it describes itself.
    pub real: String,
    /// The name of the scratch.
    pub name: String,
    /// Through which sockets it is reached; directly where there are none.
    pub via: Vec<SocketAddr>,
}

impl Plan {
    /// The plan as a document.
    pub fn to_json(&self) -> Value {
        let homes = self.homes.iter().map(|home| {
            let via: Vec<String> = home.via.iter().map(ToString::to_string).collect();
            json!({"real": home.real, "name": home.name, "via": via})
        });
        json!({
            "pipeline": self.pipeline,
            "token": self.token,
            "rows_max": self.rows_max,
            "homes": homes.collect::<Vec<_>>(),
            "brokers": self.brokers.map(|socket| socket.to_string()),
            "parts": self.parts.iter().map(Part::to_json).collect::<Vec<_>>(),
        })
    }

    /// Reads a plan.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let homes = value["homes"].as_array()?.iter().map(|home| {
            let via = home["via"].as_array()?.iter().map(|via| via.as_str()?.parse().ok());
            Some(Stand { real: text(&home["real"])?, name: text(&home["name"])?, via: via.collect::<Option<_>>()? })
        });
        Some(Self {
            pipeline: text(&value["pipeline"])?,
            token: text(&value["token"]).filter(|token| !token.is_empty())?,
            rows_max: usize::try_from(value["rows_max"].as_u64()?).ok()?,
            homes: homes.collect::<Option<_>>()?,
            brokers: match &value["brokers"] {
                Value::Null => None,
                socket => Some(socket.as_str()?.parse().ok()?),
            },
            parts: value["parts"].as_array()?.iter().map(Part::from_json).collect::<Option<_>>()?,
        })
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| wrong(path, &error.to_string()))?;
        let value = serde_json::from_str(&text).map_err(|error| wrong(path, &error.to_string()))?;
        Self::from_json(&value).ok_or_else(|| wrong(path, "a part of it is missing"))
    }
}

fn wrong(path: &Path, why: &str) -> Error {
    Error::config(codes::OF0150, format!("the plan of a scratch run, {}, cannot be used: {why}", path.display()))
        .note("nothing was written")
        .help(format!("unset {VARIABLE} for an ordinary run"))
}

/// Turns a pipeline to scratch copies where the environment asks for it; leaves it as it is otherwise.
pub fn turn(pipeline: &mut Pipeline) -> Result<(), Error> {
    match std::env::var_os(VARIABLE) {
        None => Ok(()),
        Some(path) => {
            let path = Path::new(&path);
            let plan = Plan::read(path)?;
            turn_to(pipeline, &plan, &|why| wrong(path, why))
        }
    }
}

/// Turns a pipeline to the scratch copies of a plan, or refuses and leaves nothing that could run.
pub fn turn_to(pipeline: &mut Pipeline, plan: &Plan, wrong: &dyn Fn(&str) -> Error) -> Result<(), Error> {
    if pipeline.name != plan.pipeline {
        return Err(wrong(&format!("it is for the pipeline '{}', not for '{}'", plan.pipeline, pipeline.name)));
    }
    let usual = pipeline.settings.epoch_rows_max.unwrap_or(usize::MAX);
    pipeline.settings.epoch_rows_max = Some(usual.min(plan.rows_max).max(1));
    reroute(plan);
    let mut sources: Vec<(Arc<dyn SourceFactory>, Arc<dyn SourceFactory>)> = Vec::new();
    for branch in &mut pipeline.branches {
        branch.home = stand_in(&*branch.home, plan, wrong)?;
        for source in &mut branch.sources {
            let known = sources.iter().find(|(real, _)| Arc::ptr_eq(real, source)).map(|(_, part)| part.clone());
            let part = match known {
                Some(part) => part,
                None => source::bounded(source.clone(), &plan.parts, wrong)?,
            };
            sources.push((source.clone(), part.clone()));
            *source = part;
        }
    }
    Ok(())
}

/// Sends this process's connections to Kafka through the plan's proxy.
fn reroute(plan: &Plan) {
    #[cfg(feature = "kafka")]
    if let Some(proxy) = plan.brokers {
        onceflow::source::kafka::connect_through(proxy);
    }
    #[cfg(not(feature = "kafka"))]
    let _ = plan;
}

fn stand_in(real: &dyn HomeFactory, plan: &Plan, wrong: &dyn Fn(&str) -> Error) -> Result<Arc<dyn HomeFactory>, Error> {
    let described = real.describe();
    let Some(stand) = plan.homes.iter().find(|home| home.real == described) else {
        return Err(wrong(&format!("it does not say what stands in for {described}")));
    };
    let scratch = scratch_of(real)?;
    on_this_thread(scratch.check(&stand.name, &plan.token))??;
    let home = scratch.home(&stand.name, &stand.via)?;
    let same = plan.homes.iter().any(|other| other.real == home.describe());
    if same {
        return Err(wrong(&format!("{} is a real home of the pipeline", home.describe())));
    }
    Ok(home)
}

/// How scratch copies of a home are made; an error where there can be none.
pub fn scratch_of(real: &dyn HomeFactory) -> Result<Box<dyn onceflow::home::scratch::Scratch>, Error> {
    real.scratch().ok_or_else(|| {
        let message = format!("there can be no scratch copy of {}", real.describe());
        Error::config(codes::OF0152, message).help("torture pipelines that write to PostgreSQL or SQLite")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            pipeline: "p".to_owned(),
            token: "t".to_owned(),
            rows_max: 7,
            homes: vec![Stand {
                real: "sqlite:/real.db".to_owned(),
                name: "/scratch.db".to_owned(),
                via: vec!["127.0.0.1:9".parse().expect("an address")],
            }],
            brokers: Some("127.0.0.1:10".parse().expect("an address")),
            parts: vec![Part { source: "s".into(), topic: "a/b".into(), number: 3, from: 4, until: 9 }],
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        assert_eq!(Plan::from_json(&plan().to_json()), Some(plan()));
    }

    #[test]
    fn a_plan_that_lacks_anything_is_none() {
        for key in ["pipeline", "token", "rows_max", "homes", "parts"] {
            let mut value = plan().to_json();
            value.as_object_mut().expect("an object").remove(key);
            assert_eq!(Plan::from_json(&value), None, "{key}");
        }
    }
}
