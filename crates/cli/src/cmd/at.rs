//! Which home and which pipeline a command is about.

use crate::args::{Common, Where};
use crate::load;
use crate::render::Failures;
use onceflow::home::desk::{Cell, Desk};
use onceflow::home::{Home, HomeFactory};
use onceflow::{Error, Kind, codes};
use onceflow_core::PipelineId;
use onceflow_sql::CompileOptions;
use std::sync::Arc;

/// A home, and the name of a pipeline in it.
pub struct At {
    /// The home.
    pub home: Arc<dyn HomeFactory>,
    /// The pipeline's name.
    pub pipeline: String,
}

impl At {
    /// Resolves what was typed. A pipeline with several homes needs `--home`.
    pub fn resolve(at: &Where, common: &Common) -> Result<Vec<Self>, Failures> {
        if let (Some(url), Some(pipeline)) = (&at.home, &at.pipeline) {
            let home = onceflow_sql::home_from_url(url)?;
            return Ok(vec![Self { home, pipeline: pipeline.clone() }]);
        }
        let file = at.file.as_ref().ok_or_else(|| Error::internal("neither a file nor a home was given"))?;
        let loaded = load::pipeline(file, common, &CompileOptions::default())?;
        let name = at.pipeline.clone().unwrap_or_else(|| loaded.pipeline.name.clone());
        let branches = loaded.pipeline.branches.iter();
        Ok(branches.map(|branch| Self { home: branch.home.clone(), pipeline: name.clone() }).collect())
    }

    /// The only home; several are an error that names them.
    pub fn single(mut all: Vec<Self>) -> Result<Self, Error> {
        if all.len() == 1 {
            return Ok(all.remove(0));
        }
        let homes: Vec<_> = all.iter().map(|at| at.home.describe()).collect();
        Err(Error::config(codes::OF0114, format!("the pipeline has {} homes: {}", homes.len(), homes.join(", ")))
            .help("name one with --home URL --pipeline NAME"))
    }

    /// Opens the home.
    pub fn open(&self) -> Result<Box<dyn Home>, Error> {
        self.home.open(Arc::default())
    }
}

/// The identity of a pipeline by name; an error that lists the names the ledger knows where it has none such.
pub async fn pipeline_id(desk: &mut dyn Desk, name: &str, home: &str) -> Result<PipelineId, Error> {
    if !desk.exists().await? {
        return Err(unknown(format!("{home} has no ledger"), "run the pipeline first"));
    }
    let rows = desk.rows("SELECT name, pipeline FROM {pipeline} ORDER BY name", &[]).await?;
    let mut names = Vec::new();
    for row in rows {
        let [Cell::Text(found), Cell::Text(id)] = row.as_slice() else {
            return Err(Error::internal("the ledger's pipelines have no names"));
        };
        if found == name {
            return PipelineId::parse(id).ok_or_else(|| Error::internal(format!("'{id}' is no pipeline's identity")));
        }
        names.push(found.clone());
    }
    let known = if names.is_empty() { "it knows none".to_owned() } else { format!("it knows: {}", names.join(", ")) };
    Err(unknown(format!("the ledger in {home} has no pipeline '{name}'"), &known))
}

fn unknown(message: String, known: &str) -> Error {
    Error::new(Kind::Config, codes::OF0107, message).note(known)
}
