//! A table, a ledger without commits, and a judge over them, for the tests of judges.

use super::canon::Form;
use super::evidence::Evidence;
use super::judge::{Court, Excuses, Judge, Origin};
use super::report::Report;
use crate::changes::{ColumnSpec, OnError, TableSpec, WriteMode};
use crate::error::Place;
use arrow_schema::DataType;
use onceflow_core::{Partition, PipelineId};
use std::borrow::Cow;

pub(super) struct Case {
    pub table: TableSpec,
    pub evidence: Evidence,
    pub report: Report,
    pub excuses: Excuses,
}

pub(super) fn origin(offset: usize) -> Origin {
    Origin { partition: 0, offset: offset as u64, order: 1, slot: 0, replayed: false }
}

impl Case {
    /// A table of texts whose first column is the key.
    pub fn new(columns: &[&str]) -> Self {
        let place = Place { file: "test.sql".into(), line: 1, column: 1, length: 1 };
        let column = |name: &&str| ColumnSpec {
            name: (*name).to_owned(),
            data_type: DataType::Utf8,
            nullable: true,
            declared: "STRING".to_owned(),
            place: place.clone(),
        };
        let table = TableSpec {
            name: "t".into(),
            schema: None,
            table: "t".to_owned(),
            columns: columns.iter().map(column).collect(),
            key: vec![0],
            mode: WriteMode::Append,
            on_error: OnError::DeadLetter,
            place: place.clone(),
        };
        let evidence = Evidence {
            pipeline: PipelineId::new(1),
            fingerprint: String::new(),
            shards: Vec::new(),
            positions: Vec::new(),
            partitions: vec![Partition::new("s", "topic", 0), Partition::new("s", "topic", 1)],
            commits: Vec::new(),
            letters: Default::default(),
            grouped_letters: Default::default(),
            letter_counts: (0, 0),
            events: Vec::new(),
        };
        Self { table, evidence, report: Report::new("test".to_owned(), 100), excuses: Excuses::default() }
    }

    /// Lets a judge see records' rows and the table's, pass by pass.
    pub fn run(&mut self, judge: &mut dyn Judge, records: &[(Vec<&str>, Origin)], rows: &[Vec<&str>]) {
        let forms: Vec<Form> = self.table.columns.iter().map(|column| Form::of(&column.data_type)).collect();
        let cells =
            |row: &[&str]| row.iter().map(|text| (*text != "∅").then(|| Cow::Owned((*text).to_owned()))).collect();
        for _ in 0..100 {
            let mut court = Court {
                evidence: &self.evidence,
                report: &mut self.report,
                table: &self.table,
                forms: &forms,
                excuses: &mut self.excuses,
            };
            for (row, origin) in records {
                let cells: Vec<Option<Cow<'_, str>>> = cells(row);
                judge.expected(&cells, *origin, &mut court).expect("it can be judged");
            }
            if judge.wants_table() {
                for row in rows {
                    let cells: Vec<Option<Cow<'_, str>>> = cells(row);
                    judge.found(&cells, &mut court).expect("it can be judged");
                }
            }
            if !judge.end(&mut court).expect("it can be judged") {
                return;
            }
        }
        panic!("the judge does not come to an end");
    }
}
