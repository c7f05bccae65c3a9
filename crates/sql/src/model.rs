//! What a pipeline's text says, after parsing and before planning.
//!
//! Owned by nobody in particular: the parser fills it, the resolver adds sources and targets, the planner reads it.

use arrow_schema::DataType;
use onceflow::Place;
use onceflow::changes::{OnError, TableSpec};
use onceflow::decode::{Format, Metadata};
use onceflow::home::HomeFactory;
use onceflow::source::SourceFactory;
use sqlparser::ast::{Expr, Query};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A whole text.
#[derive(Debug, Default)]
pub struct Script {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The text as it stands in the file.
    pub text: Arc<str>,
    /// `SET` statements, the last one of each key.
    pub settings: BTreeMap<String, Value>,
    /// `CREATE TABLE`, by name, in the order of the text.
    pub tables: Vec<TableDecl>,
    /// `CREATE VIEW`, in the order of the text.
    pub views: Vec<ViewDecl>,
    /// `INSERT INTO`, in the order of the text.
    pub inserts: Vec<InsertDecl>,
    /// Warnings, each said once.
    pub warnings: Vec<onceflow::Error>,
    /// The statements that decide what is computed, without comments, white space and secrets, for the fingerprint.
    pub logic: String,
}

/// A value of an option or a setting, with its place.
#[derive(Clone, Debug)]
pub struct Value {
    /// The value after variables were put in.
    pub text: String,
    /// Where the value stands.
    pub place: Place,
    /// Where the key stands.
    pub key_place: Place,
    /// Whether a variable or a password is in it, so that it must not be printed.
    pub secret: bool,
}

/// A declared type.
#[derive(Clone, Debug)]
pub struct DeclaredType {
    /// The Arrow type of its values: DECIMAL(p, s) → Decimal128(p, s); TIMESTAMP(p) → Timestamp(ms for p ≤ 3, µs ≤ 6, else ns,
    /// None); TIMESTAMP_LTZ → the same units with "UTC"; TIME → Time32(ms)/Time64(µs); STRING, CHAR, VARCHAR → Utf8; BYTES,
    /// BINARY, VARBINARY → Binary; ARRAY → List; MAP → Map; ROW → Struct; no view types.
    pub data_type: DataType,
    /// Whether NULL may stand in it.
    pub nullable: bool,
    /// The type as people write it, such as `DECIMAL(12, 2)`.
    pub text: String,
}

/// What a column of a declaration is.
#[derive(Clone, Debug)]
pub enum ColumnKind {
    /// A field of the record.
    Physical,
    /// `x AS expr`.
    Computed(Expr),
    /// `METADATA [FROM 'key'] [VIRTUAL]`.
    Metadata {
        /// Which one, once the connector is known.
        key: String,
        /// Whether it is left out when the table is written to.
        is_virtual: bool,
    },
}

/// A column of a declaration.
#[derive(Clone, Debug)]
pub struct ColumnDecl {
    /// Its name, exact.
    pub name: String,
    /// Where it is declared.
    pub place: Place,
    /// Its type; `None` for computed columns, whose type follows from the expression.
    pub declared: Option<DeclaredType>,
    /// What it is.
    pub kind: ColumnKind,
}

/// `CREATE TABLE`.
#[derive(Debug)]
pub struct TableDecl {
    /// Its name, exact.
    pub name: Arc<str>,
    /// Where the name stands.
    pub place: Place,
    /// Its columns.
    pub columns: Vec<ColumnDecl>,
    /// `PRIMARY KEY (…) NOT ENFORCED`: names with places.
    pub primary_key: Vec<(String, Place)>,
    /// `WATERMARK FOR column AS expr`: accepted, and refused by name where a query needs event time.
    pub watermark: Option<(String, Expr, Place)>,
    /// `WITH (…)`.
    pub options: BTreeMap<String, Value>,
    /// Resolved when the table is read from.
    pub source: Option<ResolvedSource>,
    /// Resolved when the table is written to.
    pub target: Option<ResolvedTarget>,
}

/// A table that is read from.
#[derive(Debug)]
pub struct ResolvedSource {
    /// Opens it.
    pub factory: Arc<dyn SourceFactory>,
    /// The format of the value.
    pub value: Format,
    /// The format of the key, where fields come from it.
    pub key: Option<Format>,
    /// Physical columns that come from the key: column name → field name in the key.
    pub key_fields: BTreeMap<String, String>,
    /// Metadata columns: column name → what.
    pub metadata: BTreeMap<String, Metadata>,
    /// What happens to a record that cannot be decoded.
    pub on_error: OnError,
}

/// A table that is written to.
#[derive(Debug)]
pub struct ResolvedTarget {
    /// Its home; targets whose homes' `describe()` are equal share one transaction.
    pub home: Arc<dyn HomeFactory>,
    /// What is written and how.
    pub spec: TableSpec,
}

/// `CREATE VIEW`.
#[derive(Debug)]
pub struct ViewDecl {
    /// Its name, exact.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// Column names, where given.
    pub columns: Vec<String>,
    /// The query.
    pub query: Box<Query>,
}

/// `INSERT INTO target [(columns)] query`.
#[derive(Debug)]
pub struct InsertDecl {
    /// The target table.
    pub target: String,
    /// Where its name stands.
    pub place: Place,
    /// Target columns, where given, with places.
    pub columns: Vec<(String, Place)>,
    /// The query.
    pub query: Box<Query>,
}

/// What the planner made of the INSERTs that go to one home.
pub struct PlannedBranch {
    /// The names of the sources, in the order of their indices.
    pub sources: Vec<Arc<str>>,
    /// The logic.
    pub logic: Arc<dyn onceflow::logic::LogicFactory>,
    /// For each INSERT the operators that run, for `explain`: one line an operator, source first.
    pub operators: Vec<Vec<String>>,
    /// Warnings, such as results that depend on `CURRENT_TIMESTAMP`.
    pub warnings: Vec<onceflow::Error>,
}
