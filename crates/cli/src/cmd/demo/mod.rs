//! `onceflow demo`: three programs read one log under one schedule of SIGKILLs, and everybody can count afterwards.

use super::Answer;
use crate::args::{Common, Format};
use crate::talk::{Talk, Tone, grouped};
use args::{Demo, Habit};
use contest::{Course, Who};
use log::cannot;
use onceflow::Error;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub mod args;
mod cause;
mod contest;
pub mod control;
mod log;
mod report;

const CONTESTANTS: [Who; 3] = [Who::Control(Habit::After), Who::Control(Habit::Before), Who::Onceflow];

/// The pipeline that Onceflow runs, as anybody would write it.
const PIPELINE: &str = "-- The demo's pipeline: transfers from files into a SQLite table.
SET 'pipeline.name' = 'demo';
SET 'auto-create' = 'true';
SET 'epoch.rows_max' = '500';   -- as small as the batches of the other two programs, so that the kills find as many commits
CREATE TABLE source (id BIGINT NOT NULL, account BIGINT NOT NULL, amount BIGINT NOT NULL)
WITH ('connector' = 'filesystem', 'path' = 'log/*.jsonl', 'format' = 'json');
CREATE TABLE transfers (id BIGINT NOT NULL, account BIGINT NOT NULL, amount BIGINT NOT NULL)
WITH ('connector' = 'sqlite', 'url' = 'sqlite:onceflow.db', 'table-name' = 'transfers');
INSERT INTO transfers SELECT id, account, amount FROM source;
";

/// What stands in a contestant's table.
struct Total {
    rows: u64,
    ids: u64,
    amount: i64,
    /// For each stripe of the log: transfers expected, rows, distinct transfers.
    stripes: Vec<[u64; 3]>,
}

impl Total {
    fn missing(&self, expected: u64) -> u64 {
        expected.saturating_sub(self.ids)
    }

    fn repeated(&self) -> u64 {
        self.rows.saturating_sub(self.ids)
    }
}

/// Stripes of the barcode.
const STRIPES: u64 = 400;

/// Runs the demo.
pub fn run(demo: &Demo, common: &Common, talk: &Talk) -> Answer {
    let folder = folder(demo)?;
    let control = log::write(&folder, demo.seed, demo.rows)?;
    let pipeline = folder.join("transfers.sql");
    std::fs::write(&pipeline, PIPELINE).map_err(|error| cannot(&pipeline, error))?;
    let targets = targets(demo);
    talk.say(&format!(
        "{} transfers, seed {}, {} kills: each program is killed the moment it gets beyond {}",
        grouped(demo.rows),
        demo.seed,
        targets.len(),
        targets.iter().map(|target| grouped(*target)).collect::<Vec<_>>().join(" · ")
    ));
    if let Some(cause) = demo.cause {
        return cause::run(cause, &cause::Ground { demo, folder: &folder, control, targets: &targets }, common, talk);
    }
    let courses = contest(&folder, &CONTESTANTS, &targets, demo.rows, talk)?;
    let totals = courses.iter().map(|course| total(course.who, &folder, demo.rows)).collect::<Result<Vec<_>, _>>()?;
    let audit = audit(&folder)?;
    let end = End { demo, folder: &folder, control, courses: &courses, totals: &totals, audit: &audit };
    let page = folder.join("report.html");
    std::fs::write(&page, report::whole(&end)).map_err(|error| cannot(&page, error))?;
    let text = if common.format == Format::Json { format!("{:#}\n", end.object()) } else { end.people(talk) };
    // A closed stdout ends the printing without a word.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(end.exit_code())
}

/// The folder of the demo: a new one, or an empty one that was named.
fn folder(demo: &Demo) -> Result<PathBuf, Error> {
    let folder = match &demo.out {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("onceflow-demo-{}-{}", demo.seed, std::process::id())),
    };
    std::fs::create_dir_all(folder.join("log")).map_err(|error| cannot(&folder, error))?;
    let mut entries = std::fs::read_dir(&folder).map_err(|error| cannot(&folder, error))?;
    if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "log")) || !is_empty(&folder.join("log")) {
        return Err(cannot(&folder, "it is not empty, and the demo writes over nothing"));
    }
    folder.canonicalize().map_err(|error| cannot(&folder, error))
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// After how many records each kill comes: one in each of as many equal parts of the log, drawn from the seed.
fn targets(demo: &Demo) -> Vec<u64> {
    let kills = u64::from(demo.kills);
    let part = |kill: u64| demo.rows * kill / (kills + 1);
    let draw = |kill: u64| {
        let (from, to) = (part(kill), part(kill + 1));
        from + 1 + onceflow::chance::mixed(demo.seed.wrapping_add(kill << 32)) % (to - from).max(1)
    };
    (0..kills).map(draw).collect()
}

/// Lets all of them run side by side, and shows how far they are.
fn contest(folder: &Path, who: &[Who], targets: &[u64], rows: u64, talk: &Talk) -> Result<Vec<Course>, Error> {
    let shown: Vec<AtomicU64> = who.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        let start = |(who, shown): (&Who, _)| {
            let who = *who;
            scope.spawn(move || contest::run(who, folder, targets, shown))
        };
        let threads: Vec<_> = who.iter().zip(&shown).map(start).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            let each = who.iter().zip(&shown);
            let each =
                each.map(|(who, at)| format!("{} {}", who.name(), grouped(at.load(Ordering::Relaxed).min(9 * rows))));
            talk.progress(&each.collect::<Vec<_>>().join("   "));
            contest::look_again_in(Duration::from_millis(100));
        }
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Error::internal("a contestant's thread panicked"))));
        ended.collect()
    })
}

fn total(who: Who, folder: &Path, rows: u64) -> Result<Total, Error> {
    let path = who.database(folder);
    let fail = |error: rusqlite::Error| cannot(&path, error);
    let database = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(fail)?;
    let number = |row: &rusqlite::Row<'_>, at: usize| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
    let sql = "SELECT count(*), count(DISTINCT id), coalesce(sum(amount), 0) FROM transfers";
    let (all, ids, amount) = database
        .query_row(sql, [], |row| Ok((number(row, 0)?, number(row, 1)?, row.get::<_, i64>(2)?)))
        .map_err(fail)?;
    let expected = |stripe: u64| (rows * (stripe + 1)).div_ceil(STRIPES) - (rows * stripe).div_ceil(STRIPES);
    let mut stripes: Vec<[u64; 3]> = (0..STRIPES).map(|stripe| [expected(stripe), 0, 0]).collect();
    let sql = format!("SELECT id * {STRIPES} / {rows}, count(*), count(DISTINCT id) FROM transfers GROUP BY 1");
    let mut statement = database.prepare(&sql).map_err(fail)?;
    let mut found = statement.query([]).map_err(fail)?;
    while let Some(row) = found.next().map_err(fail)? {
        let (stripe, count, distinct) = (number(row, 0), number(row, 1), number(row, 2));
        if let (Ok(stripe), Ok(count), Ok(distinct)) = (stripe, count, distinct)
            && let Some(stripe) = usize::try_from(stripe).ok().and_then(|stripe| stripes.get_mut(stripe))
        {
            (stripe[1], stripe[2]) = (count, distinct);
        }
    }
    Ok(Total { rows: all, ids, amount, stripes })
}

/// Onceflow's own audit, as anybody would call it.
fn audit(folder: &Path) -> Result<Value, Error> {
    ask(folder, &["audit", "transfers.sql", "--limit", "20"])
}

/// What a command of this program answers, as one object.
fn ask(folder: &Path, arguments: &[&str]) -> Result<Value, Error> {
    let program = std::env::current_exe().map_err(|error| cannot(folder, error))?;
    let mut command = Command::new(&program);
    command.args(arguments).args(["--format", "json", "--quiet"]).current_dir(folder);
    let output = command.output().map_err(|error| cannot(&program, error))?;
    let said = || format!("`onceflow {}` gave no answer: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).map_err(|_| cannot(folder, said()))
}

/// How it ended.
pub(super) struct End<'a> {
    demo: &'a Demo,
    folder: &'a Path,
    control: i64,
    courses: &'a [Course],
    totals: &'a [Total],
    audit: &'a Value,
}

impl End<'_> {
    fn is_right(&self, index: usize) -> bool {
        let total = &self.totals[index];
        (total.rows, total.ids, total.amount) == (self.demo.rows, self.demo.rows, self.control)
    }

    /// 0 where Onceflow is right, its audit is clean, and both others went wrong; 3 where nothing broke; 1 where Onceflow did.
    fn exit_code(&self) -> i32 {
        if !self.is_right(2) || self.audit["verdict"] != "clean" {
            return 1;
        }
        if self.is_right(0) || self.is_right(1) { 3 } else { 0 }
    }

    fn verdict(&self) -> String {
        match self.exit_code() {
            0 => format!(
                "the same {} kills: one program repeated {}, one lost {}, Onceflow has each of {} transfers once",
                self.courses[2].hits.len(),
                grouped(self.totals[0].repeated()),
                grouped(self.totals[1].missing(self.demo.rows)),
                grouped(self.demo.rows)
            ),
            3 => "a demo in which nothing breaks proves nothing: a control came through unharmed; use more --kills, or another --seed"
                .to_owned(),
            _ => "Onceflow is wrong here: please report it with the folder of this demo".to_owned(),
        }
    }

    fn object(&self) -> Value {
        let contestants = self.courses.iter().zip(self.totals).map(|(course, total)| {
            let hits = course.hits.iter().map(|hit| {
                json!({"milliseconds": u64::try_from(hit.at).unwrap_or(u64::MAX), "rows": hit.rows, "position": hit.position, "drift": hit.drift()})
            });
            json!({
                "name": course.who.name(), "rows": total.rows, "distinct": total.ids, "sum": total.amount,
                "missing": total.missing(self.demo.rows), "repeated": total.repeated(), "kills": hits.collect::<Vec<_>>(),
            })
        });
        json!({
            "rows": self.demo.rows, "seed": self.demo.seed, "sum": self.control,
            "contestants": contestants.collect::<Vec<_>>(), "audit": self.audit["summary"],
            "audit_verdict": self.audit["verdict"], "folder": self.folder.display().to_string(),
            "verdict": self.verdict(), "exit": self.exit_code(),
        })
    }

    fn people(&self, talk: &Talk) -> String {
        let mut out =
            format!("\n{:<22}{:>12}{:>12}{:>12}{:>20}\n", "", "rows", "missing", "repeated", "sum of amounts");
        let line = |name: &str, rows: u64, missing: u64, repeated: u64, sum: i64| {
            format!("{name:<22}{:>12}{:>12}{:>12}{sum:>20}\n", grouped(rows), grouped(missing), grouped(repeated))
        };
        out += &line("what was sent", self.demo.rows, 0, 0, self.control);
        for (course, total) in self.courses.iter().zip(self.totals) {
            out += &line(course.who.name(), total.rows, total.missing(self.demo.rows), total.repeated(), total.amount);
        }
        out += &format!("\n{}\n", kills(self.courses));
        let summary = &self.audit["summary"];
        out += &format!(
            "onceflow audit: {}: {} records read again, {} rows there once, {} missing, {} repeated\n\nLook for yourself:\n",
            self.audit["verdict"].as_str().unwrap_or("?"),
            summary["inputs"],
            summary["once"],
            summary["missing"],
            summary["repeated"]
        );
        let folder = self.folder.display();
        for who in CONTESTANTS {
            let path = who.database(self.folder);
            out += &format!(
                "  sqlite3 '{}' 'SELECT count(*), count(DISTINCT id), sum(amount) FROM transfers'\n",
                path.display()
            );
        }
        out += &format!("  cat '{folder}/transfers.sql'\n  open '{folder}/report.html'\n");
        let tone = if self.exit_code() == 0 { Tone::Strong } else { Tone::Error };
        out + &format!("\n{}\n", talk.tone(tone, &self.verdict()))
    }
}

/// What each kill hit.
fn kills(courses: &[Course]) -> String {
    let mut out = String::new();
    for course in courses {
        let phases = course.hits.iter().scan(0, |before, hit| {
            let drift = hit.drift() - *before;
            *before = hit.drift();
            Some(match drift {
                0 => "no harm".to_owned(),
                more if more > 0 => format!("+{more} rows without their position"),
                less => format!("{} records without their rows", -less),
            })
        });
        let phases: Vec<String> = phases.collect();
        out += &format!("{:<22}{}\n", course.who.name(), phases.join(" · "));
    }
    out
}
