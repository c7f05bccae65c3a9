//! Measurements, not tests: `cargo test --release -- --ignored --nocapture speed`.

use super::*;
use std::time::Instant;

fn payments(count: i64, from: i64) -> RecordBatch {
    let texts = |text: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((from..from + count).map(text)))
    };
    batch(vec![
        int_column(from..from + count),
        texts(&|row| format!("account-{:05}", row % 9973)),
        int_column((from..from + count).map(|row| row * 7 % 10_007)),
        int_column((from..from + count).map(|row| 1_750_000_000_000 + row)),
        texts(&|row| ["grocer", "travel", "books"][usize::try_from(row % 3).unwrap()].to_owned()),
        texts(&|row| format!("note {row}")),
    ])
}

fn spec(mode: WriteMode) -> TableSpec {
    let text = DataType::Utf8;
    let columns = [
        ("id", DataType::Int64, "BIGINT"),
        ("account", text.clone(), "STRING"),
        ("amount", DataType::Int64, "BIGINT"),
        ("ts", DataType::Int64, "BIGINT"),
        ("merchant", text.clone(), "STRING"),
        ("note", text, "STRING"),
    ];
    table("pay", &columns, usize::from(mode.is_keyed()), mode)
}

async fn measure(lab: &Lab, what: &str, mode: WriteMode, key: &str, step: i64, rounds: &[i64]) {
    lab.sql(&format!("DROP TABLE IF EXISTS pay; CREATE TABLE pay (id bigint {key}, account text, amount bigint, ts bigint, merchant text, note text)")).await;
    let mut writer = lab.writer(&[spec(mode)]).await;
    let works: Vec<Work> = rounds.iter().map(|from| work(vec![set(0, payments(step, from * step))])).collect();
    let start = Instant::now();
    for work in &works {
        lab.write(&mut writer, work).await;
    }
    let rate = rounds.len() as f64 * step as f64 / start.elapsed().as_secs_f64();
    println!("{what}: {rate:.0} rows/s at {step} rows a commit");
}

#[test]
#[ignore = "a measurement"]
fn speed_of_the_ways_in() {
    lab("speed", async |lab| {
        let rows = payments(1_000_000, 0);
        let targets: Vec<types::Target> = (0..6).map(|at| if matches!(at, 0 | 2 | 3) { int8() } else { text() }).collect();
        let start = Instant::now();
        let block = rows::Block::new(rows, &targets, 0);
        let mut out = Vec::with_capacity(1 << 20);
        for row in 0..block.len() {
            block.encoders.iter().for_each(|encoder| encoder.put(row, &mut out));
            if out.len() > 128 << 10 {
                out.clear();
            }
        }
        println!("encode: {:.1} M rows/s", 1.0 / start.elapsed().as_secs_f64());
        let up: Vec<i64> = (0..50).collect();
        let twice: Vec<i64> = (0..20).chain(0..20).collect();
        measure(&lab, "append, no key", WriteMode::Append, "", 10_000, &up).await;
        measure(&lab, "append, primary key", WriteMode::Append, "PRIMARY KEY", 10_000, &up).await;
        measure(&lab, "append, no key", WriteMode::Append, "", 1_000, &up).await;
        measure(&lab, "upsert, new keys", WriteMode::Upsert, "PRIMARY KEY", 10_000, &up).await;
        measure(&lab, "upsert, each key twice", WriteMode::Upsert, "PRIMARY KEY", 10_000, &twice).await;
        let again: Vec<i64> = std::iter::repeat_n(0, 20).collect();
        for step in [100, 1_000, 5_000, 10_000, 50_000] {
            measure(&lab, "upsert, existing keys", WriteMode::Upsert, "PRIMARY KEY", step, &again).await;
        }
    });
}

fn int8() -> types::Target {
    types::Target { wire: types::Wire::Int8, carrier: "bigint".to_owned(), oid: 20, cast: None, loose: false }
}

fn text() -> types::Target {
    types::Target { wire: types::Wire::Text { chars_max: None }, carrier: "text".to_owned(), oid: 25, cast: None, loose: false }
}
