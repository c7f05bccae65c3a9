//! A pipeline in SQL, built and run in code. Needs nothing installed.

#![cfg(feature = "sql")]

use onceflow::prelude::*;

#[tokio::test]
async fn a_text_is_a_pipeline_with_a_handle() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.jsonl"), "{\"id\":1,\"cents\":5}\n{\"id\":2,\"cents\":7}\nnothing\n")
        .expect("it is ours");
    let text = format!(
        "SET 'pipeline.name' = 'in-code'; SET 'auto-create' = 'true';
         CREATE TABLE payments (id BIGINT, cents BIGINT) WITH ('connector' = 'filesystem', 'path' = '{0}/*.jsonl', 'format' = 'json');
         CREATE TABLE kept (id BIGINT, cents BIGINT, PRIMARY KEY (id) NOT ENFORCED)
             WITH ('connector' = 'sqlite', 'url' = 'sqlite:{0}/t.db', 'table-name' = 'kept');
         INSERT INTO kept SELECT id, cents * 2 FROM payments;",
        folder.path().display()
    );
    let mut handle = Pipeline::sql(&text).expect("it compiles").start().expect("it starts");
    let report = handle.ended().await.expect("it runs");
    assert_eq!((report.committed, report.dead), (3, 1));
    assert_eq!(handle.lag().await.expect("the files are there"), 0);
    let database = rusqlite::Connection::open(folder.path().join("t.db")).expect("it was made");
    let sum: i64 = database.query_row("SELECT sum(cents) FROM kept", [], |row| row.get(0)).expect("it has rows");
    assert_eq!(sum, 24);
}

#[test]
fn a_text_that_is_wrong_says_where() {
    let error = Pipeline::sql("SET 'pipeline.name' = 'x';\nINSERT INTO nowhere SELECT 1;")
        .err()
        .expect("there is no such table");
    let said = format!("{error:?}");
    assert!(said.contains("<sql>:2:") && said.contains("nowhere"), "{said}");
}
