//! Declarations against tables: every finding, and that the statement in its help mends it.

use super::*;
use crate::changes::MergeOp;
use crate::codes::Code;
use arrow_schema::TimeUnit;

async fn findings(lab: &Lab, specs: &[TableSpec]) -> Error {
    match check_tables(&lab.client, specs, false).await {
        Err(error) => error,
        Ok(found) => panic!("no finding: {found:?}"),
    }
}

/// One finding with a code and words; where a help is SQL, it is executed and the declaration fits afterwards.
async fn check(lab: &Lab, spec: &TableSpec, code: Code, words: &str) {
    let error = findings(lab, std::slice::from_ref(spec)).await;
    assert_eq!(error.code(), code, "{error:?}");
    assert!(error.message().contains(words), "{error:?}");
    assert!(!error.helps().is_empty(), "{error:?}");
    assert!(error.place().is_some(), "{error:?}");
    let mends = |help: &&String| ["CREATE", "ALTER", "GRANT"].iter().any(|word| help.starts_with(word)) && !help.contains('…');
    if let Some(help) = error.helps().iter().find(mends) {
        lab.sql(help).await;
        check_tables(&lab.client, std::slice::from_ref(spec), false)
            .await
            .unwrap_or_else(|error| panic!("{help} did not mend it: {error:?}"));
    }
}

#[test]
fn every_finding_names_what_mends_it() {
    lab("findings", async |lab| {
        let append = |name: &str, columns: &[&str]| ints(name, columns, 0, WriteMode::Append);
        let upsert = |name: &str, columns: &[&str]| ints(name, columns, 1, WriteMode::Upsert);
        check(&lab, &upsert("absent", &["k", "v"]), codes::OF0730, "table 'absent' does not exist").await;

        lab.sql("CREATE TABLE c (k bigint, \"Amount\" bigint)").await;
        check(&lab, &append("c", &["k", "amount"]), codes::OF0731, "has no column 'amount'").await;

        lab.sql("CREATE TABLE t (k text)").await;
        let error = findings(&lab, &[append("t", &["k"])]).await;
        assert_eq!(error.code(), codes::OF0732);
        assert_eq!(error.message(), "column 'k' is declared BIGINT and is text in 't'");
        assert_eq!(error.helps()[0], "declare it as `k` STRING");

        lab.sql("CREATE TABLE nokey (k bigint, v bigint)").await;
        check(&lab, &upsert("nokey", &["k", "v"]), codes::OF0733, "has no unique key on (k)").await;
        lab.sql("CREATE TABLE otherkey (k bigint, v bigint PRIMARY KEY)").await;
        check(&lab, &upsert("otherkey", &["k", "v"]), codes::OF0733, "the primary key of 'otherkey' is (v)").await;
        lab.sql("CREATE TABLE partial (k bigint, v bigint); CREATE UNIQUE INDEX ON partial (k) WHERE v > 0").await;
        check(&lab, &upsert("partial", &["k", "v"]), codes::OF0733, "covers only the rows of its WHERE").await;
        lab.sql("CREATE TABLE late (k bigint UNIQUE DEFERRABLE, v bigint)").await;
        check(&lab, &upsert("late", &["k", "v"]), codes::OF0733, "is DEFERRABLE").await;

        lab.sql("CREATE TABLE must (k bigint, v bigint NOT NULL)").await;
        check(&lab, &append("must", &["k"]), codes::OF0734, "column 'v' of 'must' is NOT NULL without a default").await;
        lab.sql("CREATE TABLE gen (k bigint, v bigint GENERATED ALWAYS AS (k + 1) STORED)").await;
        check(&lab, &append("gen", &["k", "v"]), codes::OF0735, "is a generated column").await;
        lab.sql("CREATE TABLE ident (k bigint GENERATED ALWAYS AS IDENTITY, v bigint)").await;
        check(&lab, &append("ident", &["k", "v"]), codes::OF0735, "GENERATED ALWAYS AS IDENTITY").await;

        lab.sql("CREATE VIEW w AS SELECT 1::bigint AS k; CREATE TABLE ruled (k bigint); \
                 CREATE RULE r AS ON INSERT TO ruled DO INSTEAD NOTHING").await;
        check(&lab, &append("w", &["k"]), codes::OF0736, "is a view").await;
        check(&lab, &append("ruled", &["k"]), codes::OF0736, "has rules").await;
        let error = findings(&lab, &[append(&"x".repeat(64), &["k"])]).await;
        assert_eq!(error.code(), codes::OF0738);
        assert!(error.message().contains("at most 63 bytes"), "{error:?}");
    });
}

#[test]
fn all_findings_come_in_one_error() {
    lab("all_findings", async |lab| {
        lab.sql("CREATE TABLE a (k text, must bigint NOT NULL)").await;
        let specs = [ints("a", &["k", "x"], 1, WriteMode::Upsert), ints("b", &["k"], 0, WriteMode::Append)];
        let error = findings(&lab, &specs).await;
        let all = format!("{error:?}");
        for words in ["column 'k' is declared BIGINT", "has no column 'x'", "NOT NULL without a default", "table 'b' does not exist"] {
            assert!(all.contains(words), "{words} is missing in {all}");
        }
        for code in ["OF0731", "OF0734", "OF0730"] {
            assert!(all.contains(code), "{code} is missing in {all}");
        }
    });
}

#[test]
fn a_table_elsewhere_is_pointed_out() {
    lab("elsewhere", async |lab| {
        lab.sql("DROP SCHEMA IF EXISTS pgw_billing CASCADE; CREATE SCHEMA pgw_billing; CREATE TABLE pgw_billing.invoices (k bigint)").await;
        let mut spec = ints("invoices", &["k"], 0, WriteMode::Append);
        let error = findings(&lab, &[spec.clone()]).await;
        assert!(error.notes()[0].contains("'pgw_billing.invoices'"), "{error:?}");
        spec.table = "invoicse".to_owned();
        spec.schema = Some("pgw_billing".to_owned());
        let error = findings(&lab, &[spec.clone()]).await;
        assert!(error.notes()[0].contains("did you mean 'invoices'"), "{error:?}");
        spec.table = "invoices".to_owned();
        let found = check_tables(&lab.client, &[spec], false).await.unwrap();
        assert_eq!(found.identities[0].target, "pgw_billing.invoices");
        lab.sql("DROP SCHEMA pgw_billing CASCADE").await;
    });
}

fn all_types() -> Vec<(&'static str, DataType, &'static str)> {
    let list = DataType::List(Arc::new(arrow_schema::Field::new("item", DataType::Int32, true)));
    vec![
        ("b", DataType::Boolean, "BOOLEAN"),
        ("i8", DataType::Int8, "TINYINT"),
        ("i64", DataType::Int64, "BIGINT"),
        ("f", DataType::Float32, "FLOAT"),
        ("d", DataType::Decimal128(12, 2), "DECIMAL(12, 2)"),
        ("s", DataType::Utf8, "STRING"),
        ("v", DataType::Utf8, "VARCHAR(20)"),
        ("c", DataType::Utf8, "CHAR(3)"),
        ("by", DataType::Binary, "BYTES"),
        ("dt", DataType::Date32, "DATE"),
        ("t", DataType::Time32(TimeUnit::Millisecond), "TIME(3)"),
        ("ts", DataType::Timestamp(TimeUnit::Nanosecond, None), "TIMESTAMP(9)"),
        ("tz", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), "TIMESTAMP_LTZ(3)"),
        ("l", list, "ARRAY<INT>"),
        ("Weird \"name\" é", DataType::Struct(vec![arrow_schema::Field::new("a", DataType::Int64, true)].into()), "ROW<a BIGINT>"),
    ]
}

#[test]
fn a_created_table_fits_its_declaration() {
    lab("created", async |lab| {
        let mut spec = table("Größe \"x\"", &all_types(), 2, WriteMode::Upsert);
        spec.schema = Some(lab.schema.clone());
        spec.columns[5].nullable = false;
        let found = check_tables(&lab.client, std::slice::from_ref(&spec), true).await.unwrap();
        assert_eq!((found.to_create.len(), found.has_rows, found.identities), (1, vec![false], vec![]));
        lab.sql(&found.to_create[0]).await;
        let found = check_tables(&lab.client, std::slice::from_ref(&spec), true).await.unwrap();
        assert_eq!((found.to_create.len(), found.identities.len()), (0, 1));
        let columns = lab.rows("SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute \
                                WHERE attrelid = '\"Größe \"\"x\"\"\"'::regclass AND attnum > 0 ORDER BY attnum").await;
        assert_eq!(columns[0], "(b,boolean,t)");
        assert_eq!(columns[5], "(s,text,t)");
        assert_eq!(columns[12], "(tz,\"timestamp(3) with time zone\",f)");
        spec.schema = Some("pgw nowhere".to_owned());
        let error = check_tables(&lab.client, &[spec], true).await.unwrap_err();
        assert_eq!(error.helps(), ["CREATE SCHEMA \"pgw nowhere\";"]);
    });
}

#[test]
fn quoted_names_are_exact() {
    lab("quoted", async |lab| {
        lab.sql("CREATE TABLE \"We\"\"ird; Ä\" (\"select\" bigint PRIMARY KEY, \"A b\" bigint, \"a B\" bigint DEFAULT 7)").await;
        let spec = ints("We\"ird; Ä", &["select", "A b"], 1, WriteMode::Merge(vec![None, Some(MergeOp::Sum)]));
        let mut writer = lab.writer(&[spec]).await;
        for _ in 0..2 {
            let rows = batch(vec![int_column([1, 2]), int_column([10, 20])]);
            lab.write(&mut writer, &work(vec![set(0, rows)])).await;
        }
        assert_eq!(lab.rows("SELECT * FROM \"We\"\"ird; Ä\" ORDER BY 1").await, ["(1,20,7)", "(2,40,7)"]);
    });
}

#[test]
fn computed_columns_are_left_to_the_server() {
    lab("computed", async |lab| {
        lab.sql("CREATE TABLE g (id bigint GENERATED ALWAYS AS IDENTITY, k bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (k * 2) STORED, \
                 at timestamptz DEFAULT 'epoch', s serial, dropped int, own bigint GENERATED BY DEFAULT AS IDENTITY); \
                 ALTER TABLE g DROP COLUMN dropped").await;
        for mode in [WriteMode::Append, WriteMode::Upsert] {
            lab.sql("TRUNCATE g RESTART IDENTITY").await;
            let spec = ints("g", &["k", "own"], usize::from(mode.is_keyed()), mode);
            lab.write_once(&[spec], &work(vec![set(0, batch(vec![int_column([5]), int_column([77])]))])).await;
            assert_eq!(lab.rows("SELECT id, k, twice, s, own FROM g").await, ["(1,5,10,1,77)"]);
        }
    });
}

#[test]
fn missing_privileges_come_with_their_grant() {
    lab("grants", async |lab| {
        let role = format!("pgw_grants_{}", std::process::id());
        lab.sql(&format!("CREATE ROLE {role}; CREATE TABLE p (k bigint PRIMARY KEY, v bigint, s serial)")).await;
        lab.sql(&format!("GRANT USAGE ON SCHEMA {} TO {role}", lab.schema)).await;
        let spec = ints("p", &["k", "v"], 1, WriteMode::Upsert);
        for expected in ["SEQUENCE", "SELECT, INSERT, UPDATE"] {
            lab.sql(&format!("SET ROLE {role}")).await;
            let error = findings(&lab, std::slice::from_ref(&spec)).await;
            lab.sql("RESET ROLE").await;
            assert_eq!(error.code(), codes::OF0737, "{error:?}");
            let grant = error.helps().iter().find(|help| help.contains(expected)).expect("a grant").clone();
            lab.sql(&grant).await;
        }
        lab.sql(&format!("SET ROLE {role}")).await;
        lab.write_once(std::slice::from_ref(&spec), &work(vec![set(0, batch(vec![int_column([1]), int_column([2])]))])).await;
        // Columns are enough.
        lab.sql(&format!("RESET ROLE; REVOKE ALL ON p FROM {role}; GRANT INSERT (k, v) ON p TO {role}; SET ROLE {role}")).await;
        let append = ints("p", &["k", "v"], 0, WriteMode::Append);
        let found = check_tables(&lab.client, std::slice::from_ref(&append), false).await.unwrap();
        assert_eq!(found.has_rows, [true]);
        lab.write_once(&[append], &work(vec![set(0, batch(vec![int_column([3]), int_column([4])]))])).await;
        lab.sql(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await;
        assert_eq!(lab.rows("SELECT count(*) FROM p").await, ["(2)"]);
    });
}

#[test]
fn what_is_worth_knowing_is_said() {
    lab("notices", async |lab| {
        lab.sql("CREATE UNLOGGED TABLE n (k bigint PRIMARY KEY, v bigint UNIQUE); INSERT INTO n VALUES (1, 1)").await;
        let spec = ints("n", &["k", "v"], 1, WriteMode::Upsert);
        let found = check_tables(&lab.client, &[spec], false).await.unwrap();
        assert_eq!(found.has_rows, [true]);
        let all = found.notices.join("\n");
        assert!(all.contains("UNLOGGED") && all.contains("n_v_key"), "{all}");
    });
}

#[test]
fn statements_are_judged_by_the_server() {
    lab("judged_statements", async |lab| {
        lab.sql("CREATE TABLE s (id bigint PRIMARY KEY, n int)").await;
        let columns = [("id", DataType::Int64, "BIGINT"), ("name", DataType::Utf8, "STRING"), ("f", DataType::Float64, "DOUBLE")];
        let check = async |sql: &str, code: Code, words: &str| {
            let mode = WriteMode::Statement { sql: sql.to_owned(), expect_rows: None, place: place() };
            let error = findings(&lab, &[table("st", &columns, 0, mode)]).await;
            assert_eq!(error.code(), code, "{error:?}");
            assert!(error.message().contains(words), "{error:?}");
        };
        check("UPDATE s SET n = 1 WHERE id = :idd", codes::OF0742, ":idd").await;
        check("UPDATE s SET n = :f WHERE id = :id", codes::OF0743, ":f of 'write.statement' is integer").await;
        check("UPDATE missing SET n = 1", codes::OF0740, "\"missing\" does not exist").await;
        check("UPDATE s SET n = 1; DELETE FROM s", codes::OF0740, "multiple commands").await;
        check("SELECT :name IS NULL", codes::OF0740, "could not determine data type").await;
        check("COMMIT", codes::OF0741, "cannot be COMMIT").await;
        check("UPDATE s SET n = $1", codes::OF0740, "by number").await;
        // A parameter that stands twice has the type of its first place.
        let sql = "UPDATE s SET n = n + :id WHERE id = :id;".to_owned();
        let mode = WriteMode::Statement { sql, expect_rows: None, place: place() };
        check_tables(&lab.client, &[table("st", &columns, 0, mode)], false).await.unwrap();
    });
}

#[test]
fn merges_are_compared_with_their_types() {
    lab("merge_fit", async |lab| {
        lab.sql("CREATE TABLE m (k bigint PRIMARY KEY, v text)").await;
        let columns = [("k", DataType::Int64, "BIGINT"), ("v", DataType::Utf8, "STRING")];
        let error = findings(&lab, &[table("m", &columns, 1, WriteMode::Merge(vec![None, Some(MergeOp::Sum)]))]).await;
        assert_eq!(error.code(), codes::OF0739);
        assert_eq!(error.message(), "'merge.v' = 'sum' does not go with text, the column's type in 'm'");
        assert_eq!(error.helps(), ["use one of 'min', 'max', 'last', 'first'"]);
    });
}

#[test]
fn time_zones_are_not_guessed() {
    lab("zones", async |lab| {
        lab.sql("CREATE TABLE z (a timestamptz, b timestamp)").await;
        let millis = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Millisecond, zone.map(Into::into));
        let columns = [("a", millis(None), "TIMESTAMP(3)"), ("b", millis(Some("UTC")), "TIMESTAMP_LTZ(3)")];
        let error = findings(&lab, &[table("z", &columns, 0, WriteMode::Append)]).await;
        assert_eq!(error.message(), "column 'a' is declared TIMESTAMP(3) and is timestamp with time zone in 'z'");
        assert_eq!(error.helps()[0], "declare it as `a` TIMESTAMP_LTZ(6)");
        assert!(error.notes()[0].contains("does not guess"), "{error:?}");
    });
}
