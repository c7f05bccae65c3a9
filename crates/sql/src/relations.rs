//! Which tables and views a query reads.

use onceflow::Place;
use sqlparser::ast::{Ident, ObjectNamePart, Query, TableFactor, Visit as _, Visitor};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The names that a query reads, with their places, without those of its own `WITH`. Each name stands once.
pub fn relations(query: &Query, file: &Arc<str>) -> Vec<(String, Place)> {
    let mut finder = Finder { file, found: Vec::new(), scope: Vec::new() };
    let ControlFlow::Continue(()) = query.visit(&mut finder);
    finder.found
}

struct Finder<'a> {
    file: &'a Arc<str>,
    found: Vec<(String, Place)>,
    /// Names of `WITH` that hide tables here.
    scope: Vec<String>,
}

impl Visitor for Finder<'_> {
    type Break = Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Infallible> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            // Its own name is not in its scope, so it is visited once before the name is. The second visit finds nothing new.
            let _ = cte.query.visit(self);
            self.scope.push(cte.alias.name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Infallible> {
        let left = self.scope.len() - query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        self.scope.truncate(left);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Infallible> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            let parts: Vec<&Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
            let text = parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
            let known = self.scope.contains(&text) || self.found.iter().any(|(found, _)| *found == text);
            if let (false, Some(first)) = (known, parts.first()) {
                self.found.push((text, place(first, self.file)));
            }
        }
        ControlFlow::Continue(())
    }
}

/// The place of a name in the text.
pub fn place(name: &Ident, file: &Arc<str>) -> Place {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let (start, end) = (name.span.start, name.span.end);
    let length = if start.line == end.line { end.column.saturating_sub(start.column).max(1) } else { 1 };
    Place {
        file: Arc::clone(file),
        line: number(start.line).max(1),
        column: number(start.column).max(1),
        length: number(length),
    }
}
