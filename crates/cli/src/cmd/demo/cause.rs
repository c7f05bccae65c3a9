//! `--cause`: one thing is broken on purpose, doctor has to name it, it is mended, and everything runs again.
//!
//! What is broken is real: a program that does what its cause says, killed by the same schedule as everybody else. What doctor
//! says is asked of `onceflow doctor`, on what the program left behind. What is mended runs under the same schedule again.

use super::args::{Demo, Habit};
use super::contest::{Who, look_again_in};
use super::log::cannot;
use super::place::Place;
use super::{Answer, Total, ask, audit, contest, total};
use crate::args::{Common, Format};
use crate::talk::{Talk, Tone, grouped};
use onceflow::Error;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a demo works on.
pub(super) struct Ground<'a> {
    pub(super) demo: &'a Demo,
    pub(super) place: &'a Place,
    /// The sum of all amounts.
    pub(super) control: i64,
    pub(super) targets: &'a [u64],
}

/// What is broken, and what mends it.
struct Lesson {
    broken: &'static str,
    mended: &'static str,
    /// The two programs; for cause 5 Onceflow itself writes to a system outside.
    programs: Option<(Habit, Habit)>,
}

fn lesson(cause: u8) -> Lesson {
    let (broken, mended, programs) = match cause {
        1 => (
            "the sink is not idempotent: a batch that is written again after a kill becomes new rows",
            "the table has a unique key, and a row that is there already is left out",
            Some((Habit::After, Habit::Keyed)),
        ),
        2 => (
            "the source is read again: the program keeps no position, and begins at the start of the log after a kill",
            "the position is stored in the rows' own transaction, and read there at the start",
            Some((Habit::Forgetful, Habit::Together)),
        ),
        3 => (
            "there is no transaction in the sink: each row is committed alone, and a kill leaves half a batch",
            "a batch is one transaction, with its position in it",
            Some((Habit::Piecemeal, Habit::Together)),
        ),
        4 => (
            "positions are committed apart from the rows: the position first, and a kill comes before the rows",
            "the position is stored in the rows' own transaction",
            Some((Habit::Before, Habit::Together)),
        ),
        5 => (
            "an external system: a pipeline that prints cannot take back what it has printed when it is killed",
            "the rows go into a table, in the transaction of the ledger; whoever tells the outside reads them there, by their ids",
            None,
        ),
        _ => (
            "positions are checkpointed: stored behind every fortieth batch, and a kill repeats the batches since",
            "the position is stored in the rows' own transaction, with every batch",
            Some((Habit::Checkpointed, Habit::Together)),
        ),
    };
    Lesson { broken, mended, programs }
}

/// What was counted of one program.
struct Counted {
    name: String,
    rows: u64,
    missing: u64,
    repeated: u64,
    right: bool,
    /// What doctor said; Onceflow is audited instead.
    doctor: Option<Value>,
}

/// Breaks, examines, mends, and runs again.
pub(super) fn run(cause: u8, ground: &Ground<'_>, common: &Common, talk: &Talk) -> Answer {
    let lesson = lesson(cause);
    talk.say(&format!("cause {cause}, broken on purpose: {}", lesson.broken));
    let mut all = match lesson.programs {
        Some((broken, mended)) => programs(ground, broken, mended, talk)?,
        None => vec![outside(ground)?],
    };
    let courses = contest(ground.place, &[Who::Onceflow], ground.targets, ground.demo.rows, talk)?;
    let stands = total(Who::Onceflow, ground.place, ground.demo.rows)?;
    all.push(counted("onceflow".to_owned(), ground, &stands, None));
    let end = End { cause, lesson, all, audit: audit(ground.place)?, kills: courses[0].hits.len() };
    let text = match common.format {
        Format::Json => format!("{:#}\n", end.object(ground)),
        _ => end.people(ground, talk),
    };
    // A closed stdout ends the printing without a word.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(end.exit_code())
}

fn counted(name: String, ground: &Ground<'_>, stands: &Total, doctor: Option<Value>) -> Counted {
    let rows = ground.demo.rows;
    let right = (stands.rows, stands.ids, stands.amount) == (rows, rows, ground.control);
    Counted { name, rows: stands.rows, missing: stands.missing(rows), repeated: stands.repeated(), right, doctor }
}

/// Two programs under fire, and doctor on what they left behind.
fn programs(ground: &Ground<'_>, broken: Habit, mended: Habit, talk: &Talk) -> Result<Vec<Counted>, Error> {
    let who = [Who::Control(broken), Who::Control(mended)];
    contest(ground.place, &who, ground.targets, ground.demo.rows, talk)?;
    let each = who.into_iter().map(|who| {
        let stands = total(who, ground.place, ground.demo.rows)?;
        let said = ask(ground.place, &foreign(who).iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(counted(who.name().to_owned(), ground, &stands, Some(said)))
    });
    each.collect()
}

/// The command that examines a program.
fn foreign(who: Who) -> Vec<String> {
    let home = format!("sqlite:{}.db", who.name());
    let words = ["doctor", "--foreign", "--files", "log/*.jsonl", "--home", &home, "--table", "transfers"];
    words.into_iter().chain(["--map", "id,account,amount"]).map(str::to_owned).collect()
}

/// The pipeline whose target is outside of every transaction.
const OUTSIDE: &str = "-- Cause 5: what is printed cannot be taken back.
SET 'pipeline.name' = 'outside';
CREATE TABLE source (id BIGINT NOT NULL, account BIGINT NOT NULL, amount BIGINT NOT NULL)
WITH ('connector' = 'filesystem', 'path' = 'log/*.jsonl', 'format' = 'json');
CREATE TABLE letters (id BIGINT NOT NULL, account BIGINT NOT NULL, amount BIGINT NOT NULL) WITH ('connector' = 'print');
INSERT INTO letters SELECT id, account, amount FROM source;
";
/// The process that prints gets no further for so long: it is given up.
const STUCK: Duration = Duration::from_secs(60);

/// Onceflow printing to a file, as to a system outside: killed by the schedule, and counted line by line.
fn outside(ground: &Ground<'_>) -> Result<Counted, Error> {
    let pipeline = ground.place.folder.join("outside.sql");
    std::fs::write(&pipeline, OUTSIDE).map_err(|error| cannot(&pipeline, error))?;
    let letters = ground.place.folder.join("outside.txt");
    let mut child = print(&ground.place.folder, &letters)?;
    let mut targets = ground.targets.iter().copied().peekable();
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let seen = lines(&letters).len() as u64;
        if seen != last {
            (last, moved) = (seen, Instant::now());
        }
        if targets.next_if(|target| seen >= *target).is_some() {
            // Kill and wait: both answer at once where the process has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            let seen = lines(&letters).len() as u64;
            while targets.next_if(|target| seen >= *target).is_some() {}
            child = print(&ground.place.folder, &letters)?;
            continue;
        }
        if let Some(status) = child.try_wait().map_err(|error| cannot(&ground.place.folder, error))? {
            if !status.success() {
                return Err(cannot(
                    &ground.place.folder,
                    format!("the printing pipeline ended with {status}; see outside.log"),
                ));
            }
            break;
        }
        if moved.elapsed() > STUCK {
            let _ = child.kill();
            let _ = child.wait();
            return Err(cannot(&ground.place.folder, "the printing pipeline gets no further; see outside.log"));
        }
        look_again_in(Duration::from_millis(2));
    }
    let said = ask(ground.place, &["doctor", "outside.sql"])?;
    let text = lines(&letters);
    let (all, mut distinct) = (text.len() as u64, text);
    distinct.sort_unstable();
    distinct.dedup();
    let (rows, there) = (ground.demo.rows, distinct.len() as u64);
    let (missing, repeated) = (rows.saturating_sub(there), all.saturating_sub(there));
    let right = missing == 0 && repeated == 0;
    Ok(Counted { name: "print".to_owned(), rows: all, missing, repeated, right, doctor: Some(said) })
}

fn print(folder: &Path, letters: &Path) -> Result<Child, Error> {
    let program = std::env::current_exe().map_err(|error| cannot(folder, error))?;
    let open = |path: PathBuf| {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        file.map_err(|error| cannot(&path, error))
    };
    let mut command = Command::new(&program);
    command.args(["run", "outside.sql", "--until-caught-up", "--quiet"]).current_dir(folder).stdin(Stdio::null());
    command.stdout(open(letters.to_owned())?).stderr(open(folder.join("outside.log"))?);
    command.spawn().map_err(|error| cannot(&program, error))
}

/// The lines that the outside has received; one that a kill cut off is not one.
fn lines(letters: &Path) -> Vec<String> {
    let text = std::fs::read(letters).unwrap_or_default();
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&text[..whole]);
    text.lines().filter(|line| line.starts_with("+I[")).map(str::to_owned).collect()
}

/// How it ended.
struct End {
    cause: u8,
    lesson: Lesson,
    all: Vec<Counted>,
    audit: Value,
    kills: usize,
}

/// The findings of doctor about a cause.
fn named(said: &Value, cause: u8) -> Vec<&Value> {
    let checks = said["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    checks.iter().filter(|check| check["status"] == "broken" && check["cause"] == cause).collect()
}

impl End {
    fn broken(&self) -> &Counted {
        &self.all[0]
    }

    fn findings(&self) -> Vec<&Value> {
        self.broken().doctor.as_ref().map(|said| named(said, self.cause)).unwrap_or_default()
    }

    /// What was mended and still is wrong, or is still called broken.
    fn still_wrong(&self) -> Option<&Counted> {
        let called = |it: &Counted| it.doctor.as_ref().is_some_and(|said| said["summary"]["broken"] != 0);
        self.all[1..].iter().find(|it| !it.right || called(it))
    }

    /// 0 where it broke, was named, and is right once it is mended; 3 where nothing broke, or doctor could not name it; 1 where
    /// what was mended is wrong.
    fn exit_code(&self) -> i32 {
        if self.still_wrong().is_some() || self.audit["verdict"] != "clean" {
            return 1;
        }
        if self.broken().right || self.findings().is_empty() { 3 } else { 0 }
    }

    fn verdict(&self) -> String {
        let broken = self.broken();
        match self.exit_code() {
            0 => format!(
                "cause {}: {} repeated, {} missing; doctor named it; mended, and everything is there once under the same kills",
                self.cause,
                grouped(broken.repeated),
                grouped(broken.missing)
            ),
            3 if broken.right => {
                "a demo in which nothing breaks proves nothing: it came through unharmed; use more --kills, or another --seed".to_owned()
            }
            3 => format!(
                "it broke, and doctor could not tell cause {} from these traces; use more --kills, or another --seed",
                self.cause
            ),
            _ => {
                let wrong = self.still_wrong().map_or("onceflow", |it| it.name.as_str());
                format!("{wrong} is wrong although it was mended: please report it with the folder of this demo")
            }
        }
    }

    fn object(&self, ground: &Ground<'_>) -> Value {
        let one = |it: &Counted| {
            json!({
                "name": it.name, "rows": it.rows, "missing": it.missing, "repeated": it.repeated, "right": it.right,
                "doctor": it.doctor.as_ref().map(|said| said["verdict"].clone()),
            })
        };
        json!({
            "cause": self.cause, "broken": self.lesson.broken, "mended": self.lesson.mended, "rows": ground.demo.rows,
            "seed": ground.demo.seed, "kills": ground.targets.len(), "programs": self.all.iter().map(one).collect::<Vec<_>>(),
            "findings": self.findings(), "audit_verdict": self.audit["verdict"],
            "folder": ground.place.folder.display().to_string(), "verdict": self.verdict(), "exit": self.exit_code(),
        })
    }

    fn people(&self, ground: &Ground<'_>, talk: &Talk) -> String {
        let mut out = format!("\n{:<26}{:>12}{:>12}{:>12}\n", "", "rows", "missing", "repeated");
        let line = |name: &str, rows: u64, missing: u64, repeated: u64| {
            format!("{name:<26}{:>12}{:>12}{:>12}\n", grouped(rows), grouped(missing), grouped(repeated))
        };
        out += &line("what was sent", ground.demo.rows, 0, 0);
        for it in &self.all {
            out += &line(&it.name, it.rows, it.missing, it.repeated);
        }
        out += &format!("\n{}\n", self.command(&ground.place.folder));
        for finding in self.findings() {
            let said = |name: &str| {
                finding[name].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
            };
            out += &format!("  {} · {}\n", talk.tone(Tone::Error, "broken"), said("id"));
            for name in ["seen", "can_happen", "fix", "why"] {
                out += &format!("    {:<11} {}\n", name.replace('_', " "), said(name));
            }
        }
        out += &format!(
            "\nmended: {}.\nunder the same {} kills: {}\n",
            self.lesson.mended,
            self.kills,
            self.all[1..]
                .iter()
                .map(|it| format!("{} {}", it.name, if it.right { "is right" } else { "is WRONG" }))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let tone = if self.exit_code() == 0 { Tone::Strong } else { Tone::Error };
        out + &format!("\n{}\n", talk.tone(tone, &self.verdict()))
    }

    /// The command that was asked, for the reader to ask again.
    fn command(&self, folder: &Path) -> String {
        let words = match self.lesson.programs {
            Some((broken, _)) => foreign(Who::Control(broken)),
            None => vec!["doctor".to_owned(), "outside.sql".to_owned()],
        };
        let words: Vec<String> =
            words.iter().map(|word| if word.contains('*') { format!("'{word}'") } else { word.clone() }).collect();
        format!("$ cd '{}' && onceflow {}", folder.display(), words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(right: [bool; 3], broken: u64, audit: &str) -> End {
        let said = |cause: u8, broken: u64| json!({"checks": [{"cause": cause, "status": "broken"}], "summary": {"broken": broken}});
        let one =
            |right: bool, doctor| Counted { name: "x".to_owned(), rows: 1, missing: 0, repeated: 0, right, doctor };
        let all = vec![one(right[0], Some(said(4, 1))), one(right[1], Some(said(4, broken))), one(right[2], None)];
        End { cause: 4, lesson: lesson(4), all, audit: json!({"verdict": audit}), kills: 4 }
    }

    #[test]
    fn it_counts_only_where_it_broke_was_named_and_is_mended() {
        for (end, code) in [
            (end([false, true, true], 0, "clean"), 0),
            (end([true, true, true], 0, "clean"), 3),
            (End { cause: 6, ..end([false, true, true], 0, "clean") }, 3),
            (end([false, false, true], 0, "clean"), 1),
            (end([false, true, true], 1, "clean"), 1),
            (end([false, true, false], 0, "clean"), 1),
            (end([false, true, true], 0, "findings"), 1),
        ] {
            assert_eq!(end.exit_code(), code, "{}", end.verdict());
        }
    }

    #[test]
    fn every_cause_has_its_lesson() {
        for cause in 1..=6 {
            assert_eq!(lesson(cause).programs.is_none(), cause == 5);
        }
    }
}
