//! Values as rows, over SQLite. Needs nothing installed.

use onceflow::prelude::*;
use onceflow::{Ready, Table};
use serde::{Deserialize, Serialize};
use sqlite_support::{Lab, run};
use std::ops::Deref;

mod sqlite_support;

struct Case(Lab);

impl Deref for Case {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Case {
    fn new(setup: &str) -> Self {
        Self(Lab::new(setup))
    }

    fn flow<T: Serialize + for<'de> Deserialize<'de> + Send + 'static>(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> onceflow::Writing<T> {
        Pipeline::new("p").read(Memory::json(values)).parse(Json::<T>::new()).write_to(Sqlite::file(self.file()))
    }
}

fn code(ready: Ready) -> (&'static str, String) {
    let error = run(ready).expect_err("it is refused");
    (error.engine().unwrap_or_else(|| panic!("{error:?}")).code().as_str(), format!("{error:?}"))
}

#[derive(Serialize, Deserialize, Clone)]
struct Payment {
    id: i64,
    account: String,
    cents: Option<i64>,
}

fn payments(count: i64) -> Vec<Payment> {
    (0..count).map(|id| Payment { id, account: format!("a{}", id % 3), cents: (id % 5 != 4).then_some(id) }).collect()
}

const PAYMENTS: &str = "CREATE TABLE payments (cents INTEGER, id INTEGER PRIMARY KEY, account TEXT NOT NULL,
    noted TEXT DEFAULT 'yes')";

#[test]
fn structures_are_appended_with_a_digest_in_the_ledger() {
    let case = Case::new(PAYMENTS);
    for (count, committed) in [(30, 30), (30, 0), (35, 5)] {
        assert_eq!(run(case.flow(payments(count)).append_into("payments")).expect("it runs").committed, committed);
    }
    assert_eq!(case.text("SELECT count(*) || ' ' || sum(id) || ' ' || count(cents) || ' ' || group_concat(DISTINCT noted) FROM payments"), "35 595 28 yes");
    let tables = case.text("SELECT tables FROM onceflow_commit ORDER BY id LIMIT 1");
    assert!(tables.contains("payments") && tables.contains("30"), "{tables}");
}

#[test]
fn an_upsert_replaces_and_the_last_of_a_transaction_counts() {
    let case = Case::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, account TEXT NOT NULL, cents INTEGER, mine TEXT DEFAULT 'm')",
    );
    case.open().execute_batch("INSERT INTO t VALUES (1, 'old', 5, 'kept')").expect("it is ours");
    let (code, _) = code(case.flow(payments(1)).upsert_into("t"));
    assert_eq!(code, "OF0903", "rows that are there before the ledger have to be adopted");
    let adopted = Pipeline::new("q").adopt();
    let mut values = payments(3);
    values.push(Payment { id: 1, account: "new".to_owned(), cents: None });
    let flow = adopted.read(Memory::json(values)).parse(Json::<Payment>::new()).write_to(Sqlite::file(case.file()));
    run(flow.upsert_into("t")).expect("it runs");
    assert_eq!(
        case.text("SELECT group_concat(id || account || coalesce(cents, '-') || mine) FROM t"),
        "0a00m,1new-kept,2a22m"
    );
}

#[test]
fn a_merge_combines_with_what_is_there() {
    #[derive(Serialize, Deserialize)]
    struct Change {
        account: String,
        cents: i64,
        at: String,
        lowest: f64,
    }
    let case = Case::new(
        "CREATE TABLE balances (account TEXT PRIMARY KEY, cents INTEGER NOT NULL, at TEXT NOT NULL, lowest REAL)",
    );
    let change = |n: i64| Change { account: format!("a{}", n % 2), cents: n, at: format!("t{n}"), lowest: -n as f64 };
    let merges = || [("cents", Merge::Sum), ("at", Merge::Last), ("lowest", Merge::Min)];
    for count in [10, 20] {
        run(case.flow((0..count).map(change)).merge_into("balances", merges())).expect("it runs");
    }
    assert_eq!(
        case.text("SELECT group_concat(account || ' ' || cents || ' ' || at || ' ' || lowest, '; ') FROM balances"),
        "a0 90 t18 -18.0; a1 100 t19 -19.0"
    );
    let (code, said) =
        code(case.flow([change(1)]).merge_into("balances", [("cents", Merge::Sum), ("at", Merge::Last)]));
    assert!(code == "OF1013" && said.contains("'lowest'"), "{said}");
}

#[test]
fn values_that_do_not_fit_and_rows_that_are_refused_are_dead_letters() {
    #[derive(Serialize, Deserialize)]
    struct Odd {
        id: i64,
        amount: String,
        day: String,
    }
    let case = Case::new("CREATE TABLE odd (id INTEGER PRIMARY KEY CHECK (id <> 3), amount DECIMAL(6, 2), day DATE)");
    let odd = |id, amount: &str, day: &str| Odd { id, amount: amount.to_owned(), day: day.to_owned() };
    let values = [
        odd(1, "12.34", "2026-02-28"),
        odd(2, "12.345", "2026-02-28"),
        odd(3, "1", "2026-02-28"),
        odd(4, "1.5", "2026-02-30"),
        odd(5, "9999.99", "0001-01-01"),
    ];
    let report = run(case.flow(values).append_into("odd")).expect("it runs");
    assert_eq!((report.committed, report.dead), (5, 3));
    assert_eq!(
        case.text("SELECT group_concat(id || '=' || amount || '=' || day) FROM odd"),
        "1=12.34=2026-02-28,5=9999.99=0001-01-01"
    );
    let letters = "SELECT group_concat(\"offset\" || ' ' || code, '; ') FROM (SELECT * FROM onceflow_dead_letter ORDER BY \"offset\")";
    let said = case.text(letters);
    assert!(said.starts_with("1 OF1014; 2 OF08") && said.ends_with("; 3 OF1014"), "{said}");
}

#[test]
fn every_shape_of_a_value_finds_its_column() {
    #[derive(Serialize, Deserialize)]
    enum Kind {
        Small,
    }
    #[derive(Serialize, Deserialize)]
    struct Id(u32);
    #[derive(Serialize, Deserialize)]
    struct All {
        id: Id,
        kind: Kind,
        yes: bool,
        bytes: Vec<u8>,
        list: Vec<i32>,
        map: std::collections::BTreeMap<String, i32>,
        half: f32,
        at: String,
        letter: char,
        none: Option<String>,
    }
    let case = Case::new(
        "CREATE TABLE all_of (id INTEGER, kind TEXT, yes BOOLEAN, bytes BLOB, list TEXT, map TEXT, half REAL, at TIMESTAMP, letter TEXT, none TEXT)",
    );
    let all = All {
        id: Id(7),
        kind: Kind::Small,
        yes: true,
        bytes: vec![0, 255],
        list: vec![1, 2],
        map: [("k".to_owned(), 3)].into(),
        half: 0.5,
        at: "2026-01-02T03:04:05.5Z".to_owned(),
        letter: 'x',
        none: None,
    };
    run(case.flow([all]).append_into("all_of")).expect("it runs");
    let row = "SELECT id || '|' || kind || '|' || yes || '|' || hex(bytes) || '|' || list || '|' || map || '|' || half || '|' || at || '|' || letter
        || '|' || coalesce(none, 'NULL') FROM all_of";
    assert_eq!(case.text(row), "7|Small|1|00FF|[1,2]|{\"k\":3}|0.5|2026-01-02 03:04:05.500000|x|NULL");
}

#[test]
fn what_is_wrong_with_the_program_stops_it_and_is_named() {
    let case = Case::new(
        "CREATE TABLE keyless (id INTEGER, account TEXT); CREATE TABLE narrow (id INTEGER PRIMARY KEY, account TEXT)",
    );
    let (said, text) = code(case.flow(payments(1)).append_into("nothing"));
    assert!(said == "OF1013" && text.contains("no table 'nothing'") && text.contains("into.rs"), "{text}");
    let (said, text) = code(case.flow(payments(1)).upsert_into("keyless"));
    assert!(said == "OF1013" && text.contains("primary key"), "{text}");
    let (said, text) = code(case.flow(payments(1)).append_into("narrow"));
    assert!(said == "OF1013" && text.contains("'cents'") && text.contains("id, account"), "{text}");
    let (said, text) = code(case.flow(payments(1)).append_into(Table::named("narrow").columns(["id", "acount"])));
    assert!(said == "OF1013" && text.contains("'acount'"), "{text}");
    let (said, text) = code(case.flow([1_i64, 2]).append_into("narrow"));
    assert!(said == "OF1013" && text.contains("named fields"), "{text}");
    assert_eq!(case.text("SELECT count(*) || '' FROM narrow"), "0");
}
