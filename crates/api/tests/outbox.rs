//! The outbox over SQLite: what is delivered, in which order, how often, and what becomes of what is refused. Needs nothing installed.

use onceflow::prelude::*;
use onceflow::{Message, Ready};
use rusqlite::Connection;
use sqlite_support::{Lab, run};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod sqlite_support;

#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
struct Order {
    id: i64,
    customer: String,
}

struct Case(Lab);

impl Deref for Case {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.0
    }
}

impl Case {
    fn new() -> Self {
        Self(Lab::new("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT)"))
    }

    fn flow(&self, count: i64) -> onceflow::Writing<Order> {
        let orders = (0..count).map(|id| Order { id, customer: format!("c{}", id % 3) });
        Pipeline::new("orders")
            .read(Memory::json(orders))
            .parse(Json::<Order>::new())
            .write_to(Sqlite::file(self.file()))
    }

    fn ready(&self, count: i64) -> Ready {
        self.flow(count).for_each(async |tx, order| {
            tx.execute("INSERT INTO orders VALUES ($1, 'ordered')", params![order.id]).await?;
            let cancel = "UPDATE orders SET state = $2 WHERE id = $1";
            tx.outbox("mail", &*order).key(&order.customer).or_compensate(cancel, params![order.id, "cancelled"]).await
        })
    }
}

/// Everything that came, by key, in order.
type Came = Arc<Mutex<BTreeMap<String, Vec<(i64, String)>>>>;

fn note(came: &Came, message: &Message) -> onceflow::Result<i64> {
    let order: Order = message.json()?;
    came.lock()
        .expect("no test panicked with it")
        .entry(message.key().to_owned())
        .or_default()
        .push((order.id, message.idempotency_key().to_owned()));
    Ok(order.id)
}

#[test]
fn each_message_is_delivered_after_its_commit_in_order_of_its_key() {
    let case = Case::new();
    let came = Came::default();
    let (noted, file) = (came.clone(), case.file());
    let channel = Channel::of(async move |message: Message| {
        let id = note(&noted, &message)?;
        let there: i64 =
            Connection::open(&file)?.query_row("SELECT count(*) FROM orders WHERE id = ?1", [id], |row| row.get(0))?;
        assert_eq!(there, 1, "order {id} is delivered before its commit");
        Ok(())
    });
    let report = run(case.ready(100).channel("mail", channel.clone())).expect("it runs");
    assert_eq!((report.committed, report.delivered, report.refused), (100, 100, 0));
    // A second start delivers nothing again.
    assert_eq!(run(case.ready(100).channel("mail", channel)).expect("it runs").delivered, 0);
    let came = came.lock().expect("no test panicked with it");
    assert_eq!(came.len(), 3);
    for (key, messages) in &*came {
        let ids: Vec<i64> = messages.iter().map(|(id, _)| *id).collect();
        let expected: Vec<i64> = (0..100).filter(|id| format!("c{}", id % 3) == *key).collect();
        assert_eq!(ids, expected, "{key}");
        let pipeline = case.text("SELECT pipeline FROM onceflow_pipeline");
        assert!(messages.iter().all(|(id, key)| *key == format!("{pipeline}/memory/0/{id}/mail/0")), "{messages:?}");
    }
    assert_eq!(case.text("SELECT group_concat(DISTINCT state) FROM onceflow_outbox"), "delivered");
}

#[test]
fn a_failure_is_tried_again_and_holds_up_its_key_alone() {
    let case = Case::new();
    let came = Came::default();
    let noted = came.clone();
    let channel = Channel::of(async move |message: Message| {
        if message.key() == "c1" && message.attempt() < 3 {
            return Err(onceflow::Error::stop("not yet"));
        }
        if message.key() == "c2" && message.attempt() < 2 {
            panic!("a panic is a failure");
        }
        note(&noted, &message).map(drop)
    });
    let report = run(case.ready(30).channel("mail", channel.back_off(Duration::from_millis(5)))).expect("it runs");
    assert_eq!((report.delivered, report.refused), (30, 0));
    for (key, messages) in &*came.lock().expect("no test panicked with it") {
        assert!(messages.is_sorted() && messages.len() == 10, "{key}: {messages:?}");
    }
    assert_eq!(case.text("SELECT group_concat(DISTINCT attempts) FROM onceflow_outbox WHERE key = 'c1'"), "3");
}

#[test]
fn what_is_refused_for_good_is_compensated_or_a_dead_letter_and_the_next_ones_go_on() {
    let case = Case::new();
    let channel = Channel::of(async |message: Message| {
        let order: Order = message.json()?;
        match order.id {
            7 => Err(message.refuse("seven is refused")),
            8 => Err(onceflow::Error::retry("always later")),
            _ => Ok(()),
        }
    });
    let channel = channel.attempts(3).back_off(Duration::from_millis(1));
    let report = run(case.ready(12).channel("mail", channel.clone())).expect("it runs");
    assert_eq!((report.delivered, report.refused), (10, 2));
    assert_eq!(case.text("SELECT group_concat(id) FROM orders WHERE state = 'cancelled'"), "7,8");
    let states = "SELECT group_concat(state || ' ' || reason, '; ') FROM onceflow_outbox WHERE state <> 'delivered'";
    assert_eq!(
        case.text(states),
        "compensated seven is refused; compensated given up after 3 attempts: to be tried again: always later"
    );

    let plain = Case::new();
    let ready = plain.flow(12).for_each(async |tx, order| tx.outbox("mail", &*order).await);
    let report = run(ready.channel("mail", channel)).expect("it runs");
    assert_eq!((report.delivered, report.refused), (10, 2));
    let dead = "SELECT group_concat(\"offset\" || ' ' || code || ' ' || reason, '; ') FROM onceflow_dead_letter";
    assert_eq!(
        plain.text(dead),
        "7 OF1011 seven is refused; 8 OF1011 given up after 3 attempts: to be tried again: always later"
    );
    assert_eq!(
        plain.text("SELECT CAST(value AS TEXT) FROM onceflow_dead_letter LIMIT 1"),
        r#"{"id":7,"customer":"c1"}"#
    );
}

#[test]
fn a_compensation_that_fails_is_a_dead_letter_that_says_so() {
    let case = Case::new();
    let ready = case
        .flow(3)
        .for_each(async |tx, order| tx.outbox("mail", &*order).or_compensate("UPDATE nothing SET x = 1", &[]).await);
    let channel = Channel::of(async |message: Message| Err(message.refuse("no")));
    assert_eq!(run(ready.channel("mail", channel)).expect("it runs").refused, 3);
    let reason = case.text("SELECT reason FROM onceflow_dead_letter LIMIT 1");
    assert!(reason.starts_with("no; and its compensation failed") && reason.contains("nothing"), "{reason}");
    assert_eq!(case.text("SELECT group_concat(DISTINCT state) FROM onceflow_outbox"), "refused");
}

#[test]
fn a_message_without_commit_is_never_sent() {
    let case = Case::new();
    let ready = case.flow(10).for_each(async |tx, order| {
        tx.outbox("mail", &*order).await?;
        if order.id == 5 { Err(onceflow::Error::stop("five")) } else { Ok(()) }
    });
    run(ready.channel("mail", Channel::of(async |_message| panic!("nothing was committed")))).expect_err("it stops");
    assert_eq!(case.text("SELECT CAST(count(*) AS TEXT) FROM onceflow_outbox"), "0");
    // A record that is put aside takes its message with it.
    let ready = case.flow(10).for_each(async |tx, order| {
        tx.outbox("mail", &*order).await?;
        if order.id == 5 { Err(order.dead_letter("five")) } else { Ok(()) }
    });
    let report = run(ready.channel("mail", Channel::of(async |_message| Ok(())))).expect("it runs");
    assert_eq!((report.delivered, report.dead), (9, 1));
}

#[test]
fn a_channel_that_is_not_there_is_named() {
    let case = Case::new();
    let error = run(case.ready(1).channel("sms", Channel::of(async |_message| Ok(()))))
        .expect_err("there is no channel 'mail'");
    let engine = error.engine().expect("it has a code");
    assert!(engine.code().as_str() == "OF1012" && error.to_string().contains("mail"), "{error}");
    let error = case.ready(1).channel("mail", Http::post("localhost/hook")).start().err().expect("it is no URL");
    assert_eq!(error.engine().expect("it has a code").code().as_str(), "OF1012");
}

#[test]
fn the_next_process_delivers_what_the_one_before_had_begun() {
    let case = Case::new();
    run(case.ready(5).channel("mail", Channel::of(async |_message| Ok(())))).expect("it runs");
    // As a process leaves it that was killed between a send and its note.
    case.open()
        .execute_batch("UPDATE onceflow_outbox SET state = 'pending', leased_by = 'a dead one', ended_at = NULL WHERE id IN (2, 4)")
        .expect("it is ours");
    let came = Came::default();
    let noted = came.clone();
    let report =
        run(case.ready(5).channel("mail", Channel::of(async move |message: Message| note(&noted, &message).map(drop))));
    assert_eq!(report.expect("it runs").delivered, 2);
    let keys: Vec<_> = came.lock().expect("no test panicked with it").values().flatten().map(|(id, _)| *id).collect();
    assert_eq!(keys, [3, 1]);
}

#[test]
fn a_ledger_from_before_there_was_an_outbox_is_migrated() {
    let case = Case::new();
    let channel = || Channel::of(async |_message| Ok(()));
    run(case.ready(5).channel("mail", channel())).expect("it runs");
    case.open()
        .execute_batch("DROP TABLE onceflow_outbox; DELETE FROM onceflow_migration WHERE version = 2")
        .expect("it is ours");
    assert_eq!(run(case.ready(8).channel("mail", channel())).expect("it runs").delivered, 3);
    assert_eq!(case.text("SELECT group_concat(version) FROM onceflow_migration"), "1,2");
}

/// Answers HTTP requests with the statuses of a list, one after the other, then with 200; notes what came.
fn server(statuses: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
    let came = Arc::new(Mutex::new(Vec::new()));
    let noted = came.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                request.extend_from_slice(&piece[..count]);
                if whole(&request) {
                    break;
                }
            }
            noted.lock().expect("no test panicked with it").push(String::from_utf8_lossy(&request).into_owned());
            let status = statuses.get(number).unwrap_or(&"200 OK");
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsaid");
            // A client that has gone away has its reasons.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, came)
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    length.and_then(|length| length.trim().parse::<usize>().ok()).is_some_and(|length| body.len() >= length)
}

#[test]
fn http_statuses_say_what_becomes_of_a_message() {
    let case = Case::new();
    let statuses = &["503 No", "429 Later", "200 OK", "404 Gone", "302 Found", "204 Fine"];
    let (url, came) = server(statuses);
    // One key: one after the other.
    let ready = case.flow(4).for_each(async |tx, order| tx.outbox("mail", &*order).key("one").await);
    let channel = Http::post(&url).header("x-token", "t").back_off(Duration::from_millis(1));
    let report = run(ready.channel("mail", channel)).expect("it runs");
    assert_eq!((report.delivered, report.refused), (2, 2));
    let came = came.lock().expect("no test panicked with it");
    assert_eq!(came.len(), 6);
    let header = |request: &str, name: &str| {
        let found = request.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
        found.unwrap_or_else(|| panic!("{name} is missing in {request}")).to_owned()
    };
    let keys: Vec<String> = came.iter().map(|request| header(request, "idempotency-key:")).collect();
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
    assert!(
        came[0].starts_with("POST /hook HTTP/1.1") && came[0].ends_with(r#"{"id":0,"customer":"c0"}"#),
        "{}",
        came[0]
    );
    assert!(
        header(&came[0], "content-type:").ends_with("application/json") && header(&came[0], "x-token:").ends_with(" t")
    );
    let reasons = case.text("SELECT group_concat(reason, '; ') FROM onceflow_dead_letter");
    assert_eq!(reasons, "HTTP 404 said; HTTP 302 said");
}
