//! `onceflow demo`: three programs read one log under one schedule of SIGKILLs, and everybody can count afterwards.

use super::Answer;
use crate::args::{Common, Format};
use crate::talk::{Talk, Tone, grouped};
use args::{Demo, Habit};
use contest::{Course, Eye, Who};
use log::cannot;
use onceflow::Error;
use place::{DATABASE, Made, Place, cannot_place};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub mod args;
mod broker;
mod cause;
mod contest;
pub mod control;
mod log;
mod place;
mod report;

const CONTESTANTS: [Who; 3] = [Who::Control(Habit::After), Who::Control(Habit::Before), Who::Onceflow];

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
    let mut place = Place { folder: folder(demo)?, topic: None, database: None };
    let control = log::write(&place.folder, demo.seed, demo.rows)?;
    let made =
        Made::make(&mut place, demo.kafka.as_deref(), demo.postgres.as_deref(), demo.keep, (demo.seed, demo.rows))?;
    for name in made.names() {
        talk.say(&format!("made {name}{}", if demo.keep { "" } else { ", removed at the end" }));
    }
    let pipeline = place.folder.join("transfers.sql");
    std::fs::write(&pipeline, place.pipeline()).map_err(|error| cannot(&pipeline, error))?;
    let targets = targets(demo);
    talk.say(&format!(
        "{} transfers, seed {}, {} kills: each program is killed the moment it gets beyond {}",
        grouped(demo.rows),
        demo.seed,
        targets.len(),
        targets.iter().map(|target| grouped(*target)).collect::<Vec<_>>().join(" · ")
    ));
    if let Some(cause) = demo.cause {
        return cause::run(cause, &cause::Ground { demo, place: &place, control, targets: &targets }, common, talk);
    }
    let courses = contest(&place, &CONTESTANTS, &targets, demo.rows, talk)?;
    let totals = courses.iter().map(|course| total(course.who, &place, demo.rows)).collect::<Result<Vec<_>, _>>()?;
    let audit = audit(&place)?;
    let end = End { demo, place: &place, control, courses: &courses, totals: &totals, audit: &audit };
    let page = place.folder.join("report.html");
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
fn contest(place: &Place, who: &[Who], targets: &[u64], rows: u64, talk: &Talk) -> Result<Vec<Course>, Error> {
    let shown: Vec<AtomicU64> = who.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        let start = |(who, shown): (&Who, _)| {
            let who = *who;
            scope.spawn(move || contest::run(who, place, targets, shown))
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

fn total(who: Who, place: &Place, rows: u64) -> Result<Total, Error> {
    let mut eye = Eye::open(who, place)?;
    let unread = || cannot_place(place, format!("the rows of {} cannot be read", who.name()));
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let whole = match place.database {
        None => "coalesce(sum(amount), 0)",
        Some(_) => "coalesce(sum(amount), 0)::bigint",
    };
    let sql = format!("SELECT count(*), count(DISTINCT id), {whole} FROM {{table}}");
    let [all, ids, amount] = eye.numbers(&sql).and_then(|row| row.try_into().ok()).ok_or_else(unread)?;
    let expected = |stripe: u64| (rows * (stripe + 1)).div_ceil(STRIPES) - (rows * stripe).div_ceil(STRIPES);
    let mut stripes: Vec<[u64; 3]> = (0..STRIPES).map(|stripe| [expected(stripe), 0, 0]).collect();
    let sql = format!("SELECT id * {STRIPES} / {rows}, count(*), count(DISTINCT id) FROM {{table}} GROUP BY 1");
    for row in eye.rows(&sql).ok_or_else(unread)? {
        if let [stripe, count, distinct] = row[..]
            && let Some(stripe) = usize::try_from(stripe).ok().and_then(|stripe| stripes.get_mut(stripe))
        {
            (stripe[1], stripe[2]) = (number(count), number(distinct));
        }
    }
    Ok(Total { rows: number(all), ids: number(ids), amount, stripes })
}

/// Onceflow's own audit, as anybody would call it.
fn audit(place: &Place) -> Result<Value, Error> {
    ask(place, &["audit", "transfers.sql", "--limit", "20"])
}

/// What a command of this program answers, as one object.
fn ask(place: &Place, arguments: &[&str]) -> Result<Value, Error> {
    let folder = &place.folder;
    let program = std::env::current_exe().map_err(|error| cannot(folder, error))?;
    let mut command = Command::new(&program);
    command.args(arguments).args(["--format", "json", "--quiet"]).envs(place.environment()).current_dir(folder);
    let output = command.output().map_err(|error| cannot(&program, error))?;
    let said =
        || format!("`onceflow {}` gave no answer: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).map_err(|_| cannot_place(place, said()))
}

/// How it ended.
pub(super) struct End<'a> {
    demo: &'a Demo,
    place: &'a Place,
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
            "audit_verdict": self.audit["verdict"], "folder": self.place.folder.display().to_string(),
            "verdict": self.verdict(), "exit": self.exit_code(),
        })
    }

    /// The commands with which to look for oneself.
    fn look(&self) -> Vec<String> {
        let folder = self.place.folder.display();
        let sql = |table: &str| format!("SELECT count(*), count(DISTINCT id), sum(amount) FROM {table}");
        let mut commands: Vec<String> = match &self.place.database {
            None => {
                let path = |who: &Who| who.database(&self.place.folder).display().to_string();
                CONTESTANTS.iter().map(|who| format!("sqlite3 '{}' '{}'", path(who), sql("transfers"))).collect()
            }
            Some(_) if self.demo.keep => {
                let each = CONTESTANTS.iter().map(|who| format!("psql \"${DATABASE}\" -c '{}'", sql(&who.table())));
                std::iter::once(format!("export {DATABASE}=…   # the database that was made, named above"))
                    .chain(each)
                    .collect()
            }
            Some(_) => vec!["the database is gone again; --keep leaves it, to look for yourself".to_owned()],
        };
        commands.push(format!("cat '{folder}/transfers.sql'"));
        commands.push(format!("open '{folder}/report.html'"));
        commands
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
        out += &self.look().iter().map(|command| format!("  {command}\n")).collect::<String>();
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
