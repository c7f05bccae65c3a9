//! Scratch copies and the folder of a run. Whatever was made is removed when the run ends, however it ends.

use super::child::unwritable;
use super::proxy::Wire;
use crate::scratch::{Plan, Stand, scratch_of};
use onceflow::Error;
use onceflow::home::HomeFactory;
use onceflow::home::scratch::Scratch;
use onceflow::pipeline::Pipeline;
use onceflow::run::on_this_thread;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Scratch copies of one run.
pub struct Shop {
    folder: PathBuf,
    prefix: String,
    homes: Vec<RealHome>,
    plan: Plan,
    made: RefCell<BTreeSet<(usize, String)>>,
    keep: bool,
    /// What the scratch copies lack.
    pub left_out: Vec<String>,
}

struct RealHome {
    describe: String,
    in_files: bool,
    scratch: Box<dyn Scratch>,
    template: String,
}

/// A set of scratch copies, one a home.
pub struct Copies {
    /// The plan for processes that use them.
    pub plan: PathBuf,
    /// The folder of their logs.
    pub folder: PathBuf,
    /// Their names, one a home.
    pub names: Vec<String>,
}

impl Shop {
    /// A folder, and one template a home with the definitions of its tables.
    pub fn open(pipeline: &Pipeline, plan: Plan, prefix: String, keep: bool) -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(&prefix);
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| unwritable(&folder, &error))?;
        let made = RefCell::default();
        let mut shop = Self { folder, prefix, homes: Vec::new(), plan, made, keep, left_out: Vec::new() };
        for branch in &pipeline.branches {
            let scratch = scratch_of(&*branch.home)?;
            let in_files = branch.home.system() == "SQLite";
            let describe = branch.home.describe();
            shop.homes.push(RealHome { describe, in_files, scratch, template: String::new() });
            let index = shop.homes.len() - 1;
            let name = shop.name(index, "template");
            // Noted first: a copy that failed half-way has to go as well.
            shop.made.borrow_mut().insert((index, name.clone()));
            let prepared = shop.homes[index].scratch.prepare(&name, &branch.tables, &shop.plan.token);
            let left_out = on_this_thread(prepared)??;
            shop.left_out.extend(left_out);
            shop.homes[index].template = name;
        }
        Ok(shop)
    }

    fn name(&self, home: usize, of: &str) -> String {
        if self.homes[home].in_files {
            return self.folder.join(format!("{of}-{home}.db")).display().to_string();
        }
        format!("{}_{home}_{of}", self.prefix)
    }

    /// How the scratch copies of a home are made.
    pub fn scratch(&self, home: usize) -> &dyn Scratch {
        &*self.homes[home].scratch
    }

    /// How many homes there are.
    pub fn homes(&self) -> usize {
        self.homes.len()
    }

    /// Whether a home is a file, in which a stopped owner can hold the only lock.
    pub fn any_in_files(&self) -> bool {
        self.homes.iter().any(|home| home.in_files)
    }

    /// Fresh scratch copies; with a wire, systems are reached through its proxies.
    pub fn copies(&self, of: &str, wire: Option<&Wire>) -> Result<Copies, Error> {
        let folder = self.folder.join(of);
        std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        let mut plan = self.plan.clone();
        plan.brokers = wire.and_then(Wire::brokers);
        let mut names = Vec::new();
        for (index, home) in self.homes.iter().enumerate() {
            let name = self.name(index, of);
            self.made.borrow_mut().insert((index, name.clone()));
            on_this_thread(home.scratch.copy(&home.template, &name))??;
            let via = wire.and_then(|wire| wire.sockets().get(index).cloned()).unwrap_or_default();
            plan.homes.push(Stand { real: home.describe.clone(), name: name.clone(), via });
            names.push(name);
        }
        let path = folder.join("plan.json");
        std::fs::write(&path, format!("{:#}\n", plan.to_json())).map_err(|error| unwritable(&path, &error))?;
        Ok(Copies { plan: path, folder, names })
    }

    /// A scratch as a home.
    pub fn home(&self, copies: &Copies, index: usize) -> Result<Arc<dyn HomeFactory>, Error> {
        self.homes[index].scratch.home(&copies.names[index], &[])
    }

    /// Removes scratch copies, unless they are to be kept.
    pub fn put_away(&self, copies: &Copies) -> Result<(), Error> {
        if self.keep {
            return Ok(());
        }
        for (index, name) in copies.names.iter().enumerate() {
            self.remove(index, name)?;
        }
        std::fs::remove_dir_all(&copies.folder).map_err(|error| unwritable(&copies.folder, &error))
    }

    fn remove(&self, index: usize, name: &str) -> Result<(), Error> {
        on_this_thread(self.homes[index].scratch.remove(name))??;
        self.made.borrow_mut().remove(&(index, name.to_owned()));
        Ok(())
    }

    /// Removes everything, and says what could not be removed.
    pub fn close(&self) -> Vec<String> {
        if self.keep {
            return Vec::new();
        }
        let made: Vec<_> = self.made.borrow().iter().cloned().collect();
        let mut left: Vec<String> = made
            .iter()
            .filter_map(|(index, name)| Some(format!("{name}: {}", self.remove(*index, name).err()?)))
            .collect();
        if let Err(error) = std::fs::remove_dir_all(&self.folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            left.push(format!("{}: {error}", self.folder.display()));
        }
        left
    }

    /// What is kept, for people.
    pub fn kept(&self) -> Vec<String> {
        let made = self.made.borrow();
        let databases = made.iter().filter(|(index, _)| !self.homes[*index].in_files);
        std::iter::once(self.folder.display().to_string()).chain(databases.map(|(_, name)| name.clone())).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // After `close` there is nothing left; on the way of an error nobody can be told more than the error.
        let _ = self.close();
    }
}
