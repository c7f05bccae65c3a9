//! The rows of one write, table by table, ready to be encoded; and the way from a row to the record that it came from.

use super::encode::Encoder;
use super::tables::Table;
use super::types::Target;
use super::vet::unfit;
use crate::changes::{Lineage, TableSpec, Unit, Work, WriteMode};
use crate::codes::{self, Code};
use crate::error::{Error, Result};
use crate::home::row_json::row_json;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use std::cell::OnceCell;
use std::sync::Arc;

/// Rows that follow each other, with an encoder a column.
#[derive(Debug)]
pub(super) struct Block {
    pub batch: RecordBatch,
    pub encoders: Vec<Encoder>,
    /// The number of its first row in the table's rows.
    pub base: usize,
}

impl Block {
    pub fn new(batch: RecordBatch, targets: &[Target], base: usize) -> Self {
        let encoder = |(column, target): (&ArrayRef, &Target)| Encoder::new(column, &target.wire);
        let encoders = batch.columns().iter().zip(targets).map(encoder).collect();
        Self { batch, encoders, base }
    }

    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }
}

/// All rows for one table.
#[derive(Debug, Default)]
pub(super) struct TableRows {
    /// In the order of parts and sets; a single one where rows of one key may come together.
    pub blocks: Vec<Block>,
    /// For each row whether it deletes; empty where none does.
    pub deletes: Vec<bool>,
    /// How many rows.
    pub count: usize,
}

impl TableRows {
    /// The row with a number: its block and its place in it.
    pub fn find(&self, row: usize) -> (&Block, usize) {
        let block = self.blocks.partition_point(|block| block.base <= row) - 1;
        (&self.blocks[block], row - self.blocks[block].base)
    }

    /// A row as a JSON object.
    pub fn json(&self, row: usize) -> String {
        let (block, row) = self.find(row);
        row_json(&block.batch, row)
    }

    pub fn is_delete(&self, row: usize) -> bool {
        self.deletes.get(row).copied().unwrap_or(false)
    }
}

/// A row that Onceflow itself refuses.
#[derive(Clone, Debug)]
pub(super) struct Bad {
    pub table: usize,
    pub row: usize,
    pub code: Code,
    pub why: String,
}

/// Everything that one write is about.
#[derive(Debug)]
pub(super) struct Load<'w> {
    pub work: &'w Work,
    pub tables: Vec<TableRows>,
    /// Tables with rows, in the order in which rows for them first appear.
    pub order: Vec<usize>,
    lineage: OnceCell<Lineage>,
    units: OnceCell<Vec<Vec<Unit>>>,
}

impl<'w> Load<'w> {
    /// Takes the rows out of the work.
    pub fn new(work: &'w Work, specs: &[TableSpec], prepared: &[Table]) -> Result<Self> {
        let mut order = Vec::new();
        let mut batches: Vec<Vec<RecordBatch>> = vec![Vec::new(); specs.len()];
        let mut tables: Vec<TableRows> = specs.iter().map(|_| TableRows::default()).collect();
        for set in work.parts.iter().flat_map(|part| &part.sets).filter(|set| set.rows.num_rows() > 0) {
            let spec = &specs[set.table];
            if batches[set.table].is_empty() {
                order.push(set.table);
            }
            let table = &mut tables[set.table];
            add_deletes(table, set.deletes.as_deref(), set.rows.num_rows(), spec)?;
            table.count += set.rows.num_rows();
            batches[set.table].push(plain(&set.rows, spec)?);
        }
        for ((table, batches), (spec, prepared)) in tables.iter_mut().zip(batches).zip(specs.iter().zip(prepared)) {
            table.blocks = blocks(batches, spec, prepared)?;
        }
        Ok(Self { work, tables, order, lineage: OnceCell::new(), units: OnceCell::new() })
    }

    pub fn lineage(&self) -> &Lineage {
        self.lineage.get_or_init(|| self.work.lineage())
    }

    /// For each table the unit of each row.
    pub fn units(&self) -> &[Vec<Unit>] {
        self.units.get_or_init(|| {
            let mut units: Vec<Vec<Unit>> = vec![Vec::new(); self.tables.len()];
            let mut grouped = 0;
            for (part, content) in self.work.parts.iter().enumerate() {
                for set in &content.sets {
                    units[set.table].extend(self.lineage().units(part, set, &mut grouped));
                }
            }
            units
        })
    }

    /// Rows that cannot be sent as they are, in the order of tables and rows.
    pub fn bad(&self, specs: &[TableSpec], prepared: &[Table]) -> Vec<Bad> {
        let mut found = Vec::new();
        for table in 0..specs.len() {
            for block in &self.tables[table].blocks {
                bad_of_block(&mut found, table, block, &specs[table], &prepared[table].targets);
            }
        }
        found
    }
}

fn bad_of_block(found: &mut Vec<Bad>, table: usize, block: &Block, spec: &TableSpec, targets: &[Target]) {
    for (at, (encoder, target)) in block.encoders.iter().zip(targets).enumerate() {
        let name = &spec.columns[at].name;
        let nulls = encoder.nulls.as_ref().filter(|nulls| nulls.null_count() > 0 && must_have(spec, at));
        for row in nulls.iter().flat_map(|nulls| (0..block.len()).filter(|row| nulls.is_null(*row))) {
            let why = format!("column '{name}' of the key is NULL");
            found.push(Bad { table, row: block.base + row, code: codes::OF0753, why });
        }
        for unfit in unfit(encoder, &target.wire, block.len()) {
            let why = format!("column '{name}': {}", unfit.why);
            found.push(Bad { table, row: block.base + unfit.row, code: codes::OF0752, why });
        }
    }
}

/// Whether rows are told apart by this column; a NULL is equal to nothing, so it would be inserted again and again.
fn must_have(spec: &TableSpec, column: usize) -> bool {
    matches!(spec.mode, WriteMode::Upsert | WriteMode::Merge(_)) && spec.key.contains(&column)
}

fn add_deletes(table: &mut TableRows, deletes: Option<&[bool]>, rows: usize, spec: &TableSpec) -> Result<()> {
    let any = deletes.is_some_and(|deletes| deletes.contains(&true));
    if any && spec.mode != WriteMode::Upsert {
        return Err(Error::internal(format!(
            "rows of '{}' are to be deleted, and its mode is {:?}",
            spec.name, spec.mode
        )));
    }
    if any || !table.deletes.is_empty() {
        table.deletes.resize(table.count, false);
        match deletes {
            Some(deletes) => table.deletes.extend_from_slice(deletes),
            None => table.deletes.resize(table.count + rows, false),
        }
    }
    Ok(())
}

/// One block where rows are compacted by their key, else one a set, without a copy.
fn blocks(batches: Vec<RecordBatch>, spec: &TableSpec, prepared: &Table) -> Result<Vec<Block>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    if batches.len() > 1 && prepared.wants_one_block(spec) {
        let all =
            arrow_select::concat::concat_batches(&first.schema(), &batches).map_err(|error| internal(spec, error))?;
        return Ok(vec![Block::new(all, &prepared.targets, 0)]);
    }
    let mut base = 0;
    let mut blocks = Vec::with_capacity(batches.len());
    for batch in batches {
        let rows = batch.num_rows();
        blocks.push(Block::new(batch, &prepared.targets, base));
        base += rows;
    }
    Ok(blocks)
}

fn internal(spec: &TableSpec, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal(format!("rows of '{}' are not as declared", spec.name)).caused_by(error)
}

/// The rows with the declared names, and texts and bytes in their plain form.
fn plain(rows: &RecordBatch, spec: &TableSpec) -> Result<RecordBatch> {
    if rows.num_columns() != spec.columns.len() {
        let message =
            format!("{} columns came for '{}' instead of {}", rows.num_columns(), spec.name, spec.columns.len());
        return Err(Error::internal(message));
    }
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (column, declared) in rows.columns().iter().zip(&spec.columns) {
        columns.push(plain_column(column, &declared.data_type).map_err(|error| internal(spec, error))?);
    }
    let field = |(column, declared): (&ArrayRef, &crate::changes::ColumnSpec)| {
        Field::new(&declared.name, column.data_type().clone(), true)
    };
    let fields: Vec<Field> = columns.iter().zip(&spec.columns).map(field).collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns).map_err(|error| internal(spec, error))
}

fn plain_column(column: &ArrayRef, declared: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    let own = column.data_type();
    match own {
        DataType::FixedSizeBinary(_) => cast(column, &DataType::Binary),
        own if own == declared => Ok(column.clone()),
        // Names and nullability of nested fields may differ; that is no other form.
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => Ok(column.clone()),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::LargeBinary | DataType::BinaryView => {
            cast(column, declared)
        }
        DataType::Dictionary(_, values) if values.as_ref() == declared => cast(column, declared),
        // The instant is the same in any zone.
        DataType::Timestamp(unit, Some(_)) if matches!(declared, DataType::Timestamp(other, Some(_)) if other == unit) => {
            Ok(column.clone())
        }
        DataType::Null => Ok(arrow_array::new_null_array(declared, column.len())),
        _ => Err(ArrowError::SchemaError(format!("a column of {own} came where {declared} was declared"))),
    }
}

/// Another form of the same values; what cannot be converted is an error and never NULL.
fn cast(column: &ArrayRef, to: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
    arrow_cast::cast_with_options(column, to, &options)
}
