//! How the cost of a record grows with partitions, size, columns, epochs and bad records.
//!
//! Each point is the append pipeline with one thing changed. Wall time is from the first commit to the last; processor time is
//! of the whole process, its start included.

use crate::failure::{Doing, Result};
use crate::figures::{Figures, Sample};
use crate::pipeline::{COLUMNS, INSERT, PAYMENTS, from_kafka, into_payments, into_table, set};
use crate::place::{Place, Records};
use crate::postgres::Database;
use crate::rows::{REFUSED_AMOUNT, Rows, Shape, Spoilt};
use crate::subject::{Home, Outcome, Subject};

/// The points of one kind of growth.
struct Curve<'a> {
    section: &'static str,
    points: Vec<Point<'a>>,
}

/// How a point is measured.
type Measure<'a> = Box<dyn Fn(&Point<'a>) -> Result<Outcome> + 'a>;

/// A point: its name, its records, and how they are measured.
struct Point<'a> {
    name: String,
    records: Records,
    measure: Measure<'a>,
}

impl Curve<'_> {
    /// All points by turns. A point's records are there only while the curve is measured.
    fn measure(&self, place: &Place, figures: &mut Figures) -> Result<()> {
        for run in 1..=place.settings.runs() {
            for point in &self.points {
                eprintln!("bench: {}: {} ({run} of {})", self.section, point.name, place.settings.runs());
                figures.add(self.section, self.cost(point)?);
            }
        }
        Ok(())
    }

    fn cost(&self, point: &Point<'_>) -> Result<Sample> {
        (point.measure)(point).and_then(|outcome| outcome.cost(&point.name)).doing(&point.name)
    }
}

/// Appends a point's records, with further settings.
fn append(place: &Place, point: &Point<'_>, settings: &str) -> Result<Outcome> {
    let database = place.server.database(PAYMENTS)?;
    let sql = settings.to_owned()
        + &from_kafka(&place.broker, point.records.topic()?, COLUMNS)
        + &into_payments(&database.url)
        + INSERT;
    run_and_check(place, point, sql, &database)
}

fn run_and_check(place: &Place, point: &Point<'_>, sql: String, database: &Database) -> Result<Outcome> {
    let rows = point.records.rows;
    let outcome = Subject::new(&point.name, sql, rows.count, Home::Postgres(database)).run(place)?;
    database.check("payments", rows.totals())?;
    let dead = database.session()?.number("SELECT count(*) FROM onceflow.dead_letter")?;
    if crate::rows::signed(rows.count) != rows.totals().rows + dead {
        return Err(crate::failure::Failure::new(format!("WRONG: {dead} dead letters beside {:?}", rows.totals())));
    }
    Ok(outcome)
}

fn payments(place: &Place, count: u64) -> Rows {
    Rows::payments(place.settings.seed, count, 130)
}

/// 1 to 256 partitions.
pub fn partitions(place: &Place, figures: &mut Figures) -> Result<()> {
    let count = place.settings.either(500_000, 100_000);
    let point = |partitions: u32| Point {
        name: format!("partitions: {partitions}"),
        records: place.records(&format!("partitions-{partitions}"), payments(place, count), partitions),
        measure: Box::new(|point| append(place, point, "")),
    };
    let points = [1, 2, 4, 16, 64, 256].map(point).into();
    Curve { section: "partitions", points }.measure(place, figures)
}

/// Records of about 100 bytes to 1 MB.
pub fn record_size(place: &Place, figures: &mut Figures) -> Result<()> {
    let sizes =
        [("100 B", 100, 500_000), ("1 KB", 1_000, 200_000), ("10 KB", 10_000, 30_000), ("1 MB", 1_000_000, 500)];
    let point = |(name, bytes, count): (&str, usize, u64)| {
        let count = place.settings.either(count, count / 5);
        Point {
            name: format!("record size: {name}"),
            records: place.records(
                &format!("bytes-{bytes}"),
                Rows::payments(place.settings.seed, count, bytes),
                place.settings.partitions,
            ),
            measure: Box::new(|point: &Point<'_>| append(place, point, "")),
        }
    };
    let points = sizes.map(point).into();
    Curve { section: "record-size", points }.measure(place, figures)
}

/// 1, 10 and 100 columns, all of them used.
pub fn columns(place: &Place, figures: &mut Figures) -> Result<()> {
    let point = |columns: usize| Point {
        name: format!("columns: {columns}"),
        records: place.records(
            &format!("columns-{columns}"),
            Rows {
                shape: Shape::Wide { columns },
                ..payments(place, place.settings.either(2_000_000 / (columns as u64 + 3), 40_000))
            },
            place.settings.partitions,
        ),
        measure: Box::new(move |point| wide(place, point, columns)),
    };
    let points = [1, 10, 100].map(point).into();
    Curve { section: "columns", points }.measure(place, figures)
}

fn wide(place: &Place, point: &Point<'_>, columns: usize) -> Result<Outcome> {
    let names: Vec<String> = (0..columns).map(|at| if at == 0 { "id".to_owned() } else { format!("c{at}") }).collect();
    let declared = names.iter().map(|name| format!("{name} BIGINT")).collect::<Vec<_>>().join(", ");
    let database = place.server.database(&format!("CREATE TABLE wide ({declared})"))?;
    let sql = from_kafka(&place.broker, point.records.topic()?, &declared)
        + &into_table("wide", &declared, &database.url, "")
        + &format!("INSERT INTO wide SELECT {} FROM transactions;\n", names.join(", "));
    let rows = point.records.rows;
    let outcome = Subject::new(&point.name, sql, rows.count, Home::Postgres(&database)).run(place)?;
    let found = database.session()?.number("SELECT coalesce(sum(id), 0)::bigint FROM wide")?;
    if found != rows.totals().ids {
        return Err(crate::failure::Failure::new(format!("WRONG: the ids' sum is {found}, not {}", rows.totals().ids)));
    }
    Ok(outcome)
}

/// Epochs of at most 100 to 100,000 records.
pub fn epochs(place: &Place, figures: &mut Figures) -> Result<()> {
    let point = |(rows_max, count): (u64, u64)| Point {
        name: format!("epochs: {rows_max} rows"),
        records: place.records(
            &format!("epochs-{rows_max}"),
            payments(place, place.settings.either(count, count / 10)),
            place.settings.partitions,
        ),
        measure: Box::new(move |point| append(place, point, &set("epoch.rows_max", rows_max))),
    };
    let points = [(100, 100_000), (1_000, 500_000), (10_000, 1_000_000), (100_000, 2_000_000)].map(point).into();
    Curve { section: "epochs", points }.measure(place, figures)
}

/// Records that cannot be decoded, and records that the table refuses, among good ones.
pub fn dead_letters(place: &Place, figures: &mut Figures) -> Result<()> {
    let kinds = [
        ("0 dead letters", Spoilt::None, 500_000),
        ("1 % dead letters", Spoilt::Undecodable(10), 500_000),
        ("50 % dead letters", Spoilt::Undecodable(500), 200_000),
        ("1 % refused", Spoilt::Refused(10), 200_000),
        ("50 % refused", Spoilt::Refused(500), 50_000),
    ];
    let point = |(name, spoilt, count): (&str, Spoilt, u64)| {
        let rows = Rows { spoilt, ..payments(place, place.settings.either(count, (count / 5).max(30_000))) };
        Point {
            name: name.to_owned(),
            records: place.records(&format!("dead-{}", name.replace([' ', '%'], "-")), rows, place.settings.partitions),
            measure: Box::new(|point: &Point<'_>| picky(place, point)),
        }
    };
    let points = kinds.map(point).into();
    Curve { section: "dead-letters", points }.measure(place, figures)
}

/// Into a table that refuses one amount.
fn picky(place: &Place, point: &Point<'_>) -> Result<Outcome> {
    let database =
        place.server.database(&format!("{PAYMENTS}; ALTER TABLE payments ADD CHECK (amount <> {REFUSED_AMOUNT})"))?;
    // Small enough for a rate from the first commit to the last.
    let sql = set("epoch.rows_max", 10_000)
        + &from_kafka(&place.broker, point.records.topic()?, COLUMNS)
        + &into_payments(&database.url)
        + INSERT;
    run_and_check(place, point, sql, &database)
}
