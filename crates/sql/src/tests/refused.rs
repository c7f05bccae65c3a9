//! What is refused, with its code and its words.

use super::{INSERT, check, check_place, source, source_with, target, target_with};

#[test]
fn statements_of_others_are_refused_by_name() {
    check("DROP TABLE x;", "OF0204", "the statement DROP TABLE is not supported");
    check("USE CATALOG x;", "OF0204", "USE CATALOG");
    check("SHOW TABLES;", "OF0204", "SHOW TABLES");
    check("SELECT 1;", "OF0204", "INSERT INTO target SELECT");
    check("EXPLAIN INSERT INTO t SELECT a FROM s;", "OF0204", "onceflow explain");
    check("UPDATE t SET a = 1;", "OF0204", "write.statement");
    check("ALTER TABLE t ADD a INT;", "OF0204", "ALTER TABLE");
    check("RESET 'x';", "OF0204", "RESET");
    check("ADD JAR 'x.jar';", "OF0204", "ADD JAR");
    check("CREATE CATALOG x WITH ('type' = 'y');", "OF0204", "CREATE CATALOG");
    check("CREATE DATABASE x;", "OF0204", "CREATE DATABASE");
    check("CREATE SOURCE x (a INT);", "OF0204", "write CREATE TABLE");
    check("CREATE MATERIALIZED VIEW x AS SELECT 1;", "OF0204", "CREATE VIEW");
    check("CREATE OR REPLACE TABLE x (a INT);", "OF0204", "CREATE OR REPLACE");
    check("CREATE FUNCTION f AS 'com.example.F';", "OF0264", "no function f is registered");
    check("CREATE TEMPORARY FUNCTION IF NOT EXISTS f AS 'x' LANGUAGE JAVA;", "OF0264", "f");
    check("INSERT OVERWRITE t SELECT 1;", "OF0204", "INSERT OVERWRITE");
    check("BEGIN; COMMIT;", "OF0204", "BEGIN");
    check("CREAT TABLE x (a INT);", "OF0201", "did you mean CREATE?");
    check("42;", "OF0201", "expected a statement");
    check("CREATE x;", "OF0201", "expected TABLE or VIEW");
}

#[test]
fn slips_of_the_pen_are_named_with_their_place() {
    check("CREATE TABLE (a INT);", "OF0201", "expected a table name, found `(`");
    check("CREATE TABLE t (a INT,);", "OF0201", "remove the comma");
    check("CREATE TABLE t (a INT b INT);", "OF0201", "expected `,` or `)`, found `b`");
    check("CREATE TABLE t (a INT;", "OF0201", "expected `,` or `)`, found the end");
    check("CREATE TABLE t (a);", "OF0201", "expected a type");
    check("CREATE TABLE select (a INT);", "OF0201", "SELECT is a reserved word");
    check("CREATE TABLE t (a INT) WITH ('a' = 'b',);", "OF0201", "remove the comma");
    check("CREATE TABLE t (a INT) WITH ('a' 'b');", "OF0201", "expected `=`");
    check("CREATE TABLE t (a INT) WITH (a = 'b');", "OF0201", "in single quotes");
    check("CREATE TABLE t (a INT) WITH ('a' = 5);", "OF0201", "write '5'");
    check("CREATE TABLE t (a INT) WITH ('a' = 'b') WHAT;", "OF0201", "expected `;`, found `WHAT`");
    check("CREATE TABLE x.y (a INT);", "OF0204", "no catalog or database");
    check("CREATE TABLE `` (a INT);", "OF0201", "is empty");
    check("SET lanes = 2;", "OF0201", "SET 'key' = 'value'");
    check("SET 'lanes' = 2;", "OF0201", "write '2'");
    check("SET;", "OF0201", "found the end of the statement");
    check("INSERT t SELECT a FROM s;", "OF0201", "expected INTO");
    check("INSERT INTO t;", "OF0201", "a query that begins with SELECT");
    check("INSERT INTO t (a, a) SELECT a, a FROM s;", "OF0208", "listed twice");
    check("INSERT INTO t SELECT a, FROM s;", "OF0201", "remove the comma");
    check("INSERT INTO t SELECT a FROM s WHERE;", "OF0201", "found the end of the statement");
    check("INSERT INTO t SELECT a FROM s);", "OF0201", "`)` cannot stand here");
    check("INSERT INTO t SELECT a FROM s WHERE a = = 1;", "OF0201", "found `=`");
    check("INSERT INTO t SELECT CAST(a AS) FROM s;", "OF0201", "found `)`");
    check_place("INSERT INTO t\nSELECT a,\nFROM s;", 3, "FROM");
    check_place("CREATE TABLE t (\n  a INT,\n  b WHAT\n);", 3, "WHAT");
    check("CREATE TABLE t (a AS );", "OF0201", "expected an expression");
    check("CREATE TABLE t (a AS 1 +);", "OF0201", "expected an expression");
    check("CREATE VIEW v (a b) AS SELECT 1;", "OF0201", "expected `)`");
    check("CREATE VIEW v SELECT 1;", "OF0201", "expected AS");
    check("INSERT INTO t SELECT a /*+ OPTIONS('x'='y') */ FROM s;", "OF0204", "the hint /*+ OPTIONS */");
}

#[test]
fn statement_sets_are_closed_and_hold_inserts() {
    check("BEGIN STATEMENT SET; INSERT INTO t SELECT a FROM s;", "OF0201", "not closed");
    check("END;", "OF0201", "END without a statement set");
    check("BEGIN STATEMENT SET; SET 'lanes' = '1'; END;", "OF0201", "expected INSERT or END");
    check("BEGIN STATEMENT SET; BEGIN STATEMENT SET; END;", "OF0201", "inside of another one");
    check("EXECUTE STATEMENT SET INSERT INTO t SELECT a FROM s; END;", "OF0201", "expected BEGIN");
}

#[test]
fn variables_have_to_be_set_and_stand_in_strings() {
    check("SET 'lanes' = '${NOPE}';", "OF0205", "the variable NOPE is not set");
    check_place("SET 'lanes' = 'a ${NOPE} b';", 1, "${NOPE}");
    check_place("SET 'lanes' = 'it''s ${NOPE}';", 1, "${NOPE}");
    check("SET 'lanes' = '${NOPE:?say how many}';", "OF0205", "not set: say how many");
    check("SET 'lanes' = '${EMPTY:?must not be empty}';", "OF0205", "must not be empty");
    check("SET 'lanes' = '${}';", "OF0206", "a variable needs a name");
    check("SET 'lanes' = '${A B}';", "OF0206", "cannot follow");
    check("SET 'lanes' = '${A-1}';", "OF0206", "${VAR:-default}");
    check("SET 'lanes' = '${TOPIC';", "OF0206", "not closed");
    check("SET 'lanes' = '${file:/nowhere/at/all}';", "OF0207", "/nowhere/at/all");
    check("CREATE TABLE ${TOPIC} (a INT);", "OF0206", "outside of a string");
    check("CREATE TABLE `${TOPIC}` (a INT);", "OF0206", "outside of a string");
    check("INSERT INTO t SELECT a FROM s WHERE a > ${TOPIC};", "OF0206", "CAST('${TOPIC}' AS BIGINT)");
    check("INSERT INTO t SELECT X'${TOPIC}' FROM s;", "OF0206", "without its prefix");
}

#[test]
fn types_are_checked() {
    let column = |text: &str| format!("CREATE TABLE x (a {text});");
    check(&column("TEXT"), "OF0210", "write STRING");
    check(&column("TIMESTAMPTZ"), "OF0210", "write TIMESTAMP_LTZ(6)");
    check(&column("BIGNIT"), "OF0210", "did you mean BIGINT?");
    check(&column("MULTISET<INT>"), "OF0210", "MULTISET");
    check(&column("INTERVAL DAY"), "OF0210", "INTERVAL");
    check(&column("TIMESTAMP(3) WITH TIME ZONE"), "OF0210", "write TIMESTAMP_LTZ(3)");
    check(&column("DECIMAL(39, 2)"), "OF0211", "precision of 1 to 38");
    check(&column("DECIMAL(0)"), "OF0211", "precision of 1 to 38");
    check(&column("DECIMAL(5, 6)"), "OF0211", "scale of 0 to 5");
    check(&column("TIMESTAMP(10)"), "OF0211", "0 to 9");
    check(&column("TIME(7)"), "OF0211", "0 to 6");
    check(&column("VARCHAR(0)"), "OF0211", "at least 1");
    check(&column("VARCHAR(99999999999)"), "OF0211", "out of range");
    check(&column("DECIMAL(a)"), "OF0201", "expected a number");
    check(&column("DECIMAL(1, 2, 3)"), "OF0201", "expected `)`");
    check(&column("ARRAY<INT"), "OF0201", "expected `>`");
    check(&column("ARRAY INT"), "OF0201", "expected `<`");
    check(&column("MAP<INT>"), "OF0201", "expected `,`");
    check(&column("ROW<a INT, a INT>"), "OF0208", "stands twice");
    check(&column("INT NOT"), "OF0201", "expected NULL");
}

#[test]
fn declarations_are_consistent() {
    check("CREATE TABLE x (a INT, a INT);", "OF0208", "the column a is declared twice");
    check("CREATE TABLE x (a INT);\nCREATE TABLE x (a INT);", "OF0208", "the name x is declared twice");
    check("CREATE TABLE x (a INT);\nCREATE VIEW x AS SELECT 1;", "OF0208", "declared first in line 1");
    check("CREATE TABLE x (a INT) WITH ('a' = 'b', 'a' = 'c');", "OF0208", "stands twice");
    check("CREATE TABLE x (a INT, PRIMARY KEY (b) NOT ENFORCED);", "OF0217", "names b, which is no column");
    check("CREATE TABLE x (ab INT, PRIMARY KEY (AB) NOT ENFORCED);", "OF0217", "did you mean ab?");
    check("CREATE TABLE x (a INT, PRIMARY KEY (a));", "OF0212", "needs NOT ENFORCED");
    check("CREATE TABLE x (a INT PRIMARY KEY ENFORCED);", "OF0212", "cannot be ENFORCED");
    check(
        "CREATE TABLE x (a INT PRIMARY KEY NOT ENFORCED, PRIMARY KEY (a) NOT ENFORCED);",
        "OF0212",
        "two primary keys",
    );
    check("CREATE TABLE x (a INT, b AS a, PRIMARY KEY (b) NOT ENFORCED);", "OF0212", "not a physical column");
    check("CREATE TABLE x (a INT, PRIMARY KEY (a, a) NOT ENFORCED);", "OF0208", "listed twice");
    check("CREATE TABLE x (a INT, PRIMARY KEY () NOT ENFORCED);", "OF0201", "a column of the key");
    check("CREATE TABLE x (a INT, UNIQUE (a));", "OF0204", "UNIQUE");
    check("CREATE TABLE x (a INT, FOREIGN KEY (a) REFERENCES y (a));", "OF0204", "FOREIGN");
    check("CREATE TABLE x (a INT DEFAULT 1);", "OF0204", "DEFAULT");
    check("CREATE TABLE x (a INT) PARTITIONED BY (a);", "OF0213", "PARTITIONED");
    check("CREATE TABLE x (a INT) DISTRIBUTED BY (a) INTO 4 BUCKETS;", "OF0213", "DISTRIBUTED");
    check("CREATE TABLE x WITH ('connector' = 'print') AS SELECT 1;", "OF0213", "INSERT INTO x SELECT");
    check("CREATE TABLE x (a TIMESTAMP(3), WATERMARK FOR a AS a, WATERMARK FOR a AS a);", "OF0208", "two watermarks");
    check("CREATE TABLE x (a INT, CONSTRAINT k CHECK (a));", "OF0201", "expected PRIMARY KEY");
}

#[test]
fn like_copies_only_what_fits() {
    let base = "CREATE TABLE a (x INT PRIMARY KEY NOT ENFORCED, y AS x) WITH ('connector' = 'print');\n";
    let like = |text: &str| format!("{base}CREATE TABLE b {text};");
    check(&like("LIKE c"), "OF0209", "tables before: a");
    check(&like("LIKE A"), "OF0209", "did you mean a?");
    check(&like("(x INT) LIKE a"), "OF0214", "the column x is also in a");
    check(&like("(y AS 1) LIKE a"), "OF0214", "OVERWRITING GENERATED");
    check(&like("(z INT, PRIMARY KEY (z) NOT ENFORCED) LIKE a"), "OF0214", "EXCLUDING CONSTRAINTS");
    check(&like("WITH ('connector' = 'x') LIKE a (INCLUDING OPTIONS)"), "OF0214", "OVERWRITING OPTIONS");
    check(&like("LIKE a (OVERWRITING ALL)"), "OF0214", "OVERWRITING ALL");
    check(&like("LIKE a (WITHOUT OPTIONS)"), "OF0201", "expected INCLUDING");
    check(&like("LIKE a (INCLUDING EVERYTHING)"), "OF0201", "expected ALL");
}

#[test]
fn names_of_tables_have_to_exist() {
    let all = |insert: &str| format!("{}{}{insert}", source(), target());
    check(&all("INSERT INTO T SELECT a, b FROM s;"), "OF0209", "did you mean t?");
    check(&all("INSERT INTO t SELECT a, b FROM S;"), "OF0209", "did you mean s?");
    check(&all("INSERT INTO t SELECT a, b FROM orders;"), "OF0209", "tables and views: s, t");
    check(&all("CREATE VIEW v AS SELECT * FROM w; INSERT INTO t SELECT a, b FROM v;"), "OF0209", "no table or view w");
    check(&all("INSERT INTO t SELECT a, b FROM s WHERE a IN (SELECT a FROM z);"), "OF0209", "no table or view z");
    check(&all("INSERT INTO t SELECT a, b FROM db.s;"), "OF0209", "db.s");
    check(&all("CREATE VIEW v AS SELECT 1; INSERT INTO v SELECT a, b FROM s;"), "OF0261", "v is a view");
    check(&all("INSERT INTO t (a, c) SELECT a, b FROM s;"), "OF0217", "no column c");
    check(&all("INSERT INTO t SELECT 1, 'x';"), "OF0262", "reads no source");
    check(&all("INSERT INTO t VALUES (1, 'x');"), "OF0262", "VALUES has no source");
    check(&all(""), "OF0260", "no INSERT");
    check("", "OF0260", "no INSERT");
    check("-- nothing", "OF0260", "no INSERT");
}

#[test]
fn connectors_are_known_and_used_their_way() {
    let reads = |options: &str| format!("CREATE TABLE s (a BIGINT, b STRING) {options};\n{}{INSERT}", target());
    check(&reads(""), "OF0224", "needs the option 'connector'");
    check(&reads("WITH ('connector' = 'kafak')"), "OF0220", "did you mean 'kafka'?");
    check(&reads("WITH ('connector' = 'xyzzy')"), "OF0220", "kafka, filesystem, datagen");
    check(&reads("WITH ('connector' = 'upsert-kafka')"), "OF0221", "read the topic with 'connector' = 'kafka'");
    check(&reads("WITH ('connector' = 'mysql-cdc')"), "OF0221", "'mysql-cdc' is not available yet");
    check(&reads("WITH ('connector' = 'jdbc')"), "OF0222", "cannot be read");
    let writes = |options: &str| format!("{}CREATE TABLE t (a BIGINT, b STRING) {options};\n{INSERT}", source());
    check(&writes("WITH ('connector' = 'kafka')"), "OF0221", "writing to 'kafka' is not available yet");
    check(&writes("WITH ('connector' = 'filesystem')"), "OF0221", "writing to 'filesystem'");
    check(&writes("WITH ('connector' = 'datagen')"), "OF0222", "cannot be written");
    check(&writes("WITH ('connector' = 'http')"), "OF0221", "jdbc, postgres, sqlite, print, blackhole");
    check(&writes("WITH ('connector' = 'postgrez')"), "OF0220", "did you mean 'postgres'?");
    let both = format!("{}{}INSERT INTO t SELECT a, b FROM s; INSERT INTO t SELECT a, b FROM t;", source(), target());
    check(&both, "OF0222", "a table of 'sqlite' cannot be read");
}

#[test]
fn options_are_known_complete_and_right() {
    let files = |options: &str| format!("{}{}{INSERT}", source_with("", options), target());
    check(&files(", 'jsno.fail-on-missing-field' = 'true'"), "OF0223", "did you mean json.fail-on-missing-field?");
    check(&files(", 'what' = 'ever'"), "OF0223", "'filesystem' has no option 'what'");
    check(&files(", 'json.fail-on-missing-field' = 'yes'"), "OF0225", "takes true or false, not 'yes'");
    check(&files(", 'json.timestamp-format.standard' = 'ISO8601'"), "OF0225", "did you mean 'ISO-8601'?");
    check(
        &files(", 'json.fail-on-missing-field' = 'true', 'json.ignore-parse-errors' = 'true'"),
        "OF0226",
        "both be true",
    );
    check(&files(", 'csv.field-delimiter' = ';'"), "OF0226", "does not fit the other options");
    check(&files(", 'source.monitor-interval' = 'often'"), "OF0225", "a duration such as");
    check(&files(", 'source.monitor-interval' = '0 s'"), "OF0225", "above zero");
    check(&files(", 'on-error' = 'ignore'"), "OF0225", "dead-letter, stop, skip");
    check(&files(", 'on-error' = 'stop', 'json.ignore-parse-errors' = 'true'"), "OF0226", "means 'on-error' = 'skip'");
    let raw = |options: &str| {
        format!("CREATE TABLE s (a BIGINT, b STRING) WITH ('connector' = 'filesystem'{options});\n{}{INSERT}", target())
    };
    check(&raw(""), "OF0224", "'path'");
    check(&raw(""), "OF0224", "'format'");
    check(&raw(", 'path' = 's3://b/c', 'format' = 'json'"), "OF0225", "local file system");
    check(&raw(", 'path' = 'x', 'format' = 'jsno'"), "OF0229", "did you mean json?");
    check(&raw(", 'path' = 'x', 'format' = 'avro'"), "OF0229", "'avro' is not available yet");
    check(&raw(", 'path' = 'x', 'format' = 'raw'"), "OF0230", "gives one column");
    check(&raw(", 'path' = 'x', 'format' = 'csv', 'csv.field-delimiter' = 'ab'"), "OF0225", "one ASCII character");
    check(
        &raw(", 'path' = 'x', 'format' = 'csv', 'csv.disable-quote-character' = 'true', 'csv.quote-character' = '|'"),
        "OF0226",
        "contradict",
    );
    check(&raw(", 'path' = 'x', 'format' = 'csv', 'csv.array-element-delimiter' = ''"), "OF0226", "not empty");
    check(&raw(", 'path' = 'x', 'format' = 'csv', 'csv.escape-character' = ','"), "OF0226", "other characters");
    check(&raw(", 'path' = 'x', 'format' = 'csv', 'csv.field-delimiter' = '\\u000a'"), "OF0226", "line break");
    let both = ", 'path' = 'x', 'format' = 'csv', 'csv.header' = 'true', 'csv.ignore-first-line' = 'true'";
    check(&raw(both), "OF0226", "'csv.header' and 'csv.ignore-first-line' contradict each other");
    check(&raw(", 'path' = 'x', 'format' = 'csv', 'csv.headers' = 'true'"), "OF0223", "did you mean csv.header?");
    let one = |column: &str, options: &str| {
        format!(
            "CREATE TABLE s ({column}) WITH ('connector' = 'filesystem', 'path' = 'x', 'format' = 'raw'{options});\n{}INSERT INTO t SELECT 1, 'x' FROM s;",
            target()
        )
    };
    check(&one("a DATE", ""), "OF0230", "cannot give the type of a");
    check(&one("a STRING", ", 'raw.charset' = 'UTF-16'"), "OF0225", "one of UTF-8");
    check(&one("a STRING", ", 'raw.endianness' = 'middle'"), "OF0225", "big-endian");
}

#[test]
fn metadata_is_known_and_has_a_type_that_holds_it() {
    let files = |columns: &str| format!("{}{}{INSERT}", source_with(columns, ""), target());
    check(&files(", m STRING METADATA"), "OF0216", "'filesystem' has no metadata 'm'");
    check(&files(", m STRING METADATA FROM 'file.pat'"), "OF0216", "did you mean file.path?");
    check(&files(", line BOOLEAN METADATA"), "OF0216", "'line' cannot be BOOLEAN");
    check(&files(", m INT METADATA FROM 'file.path'"), "OF0216", "declare m STRING METADATA");
    check(&files(", m STRING METADATA FROM topic"), "OF0201", "a metadata key in single quotes");
    let sink =
        format!("{}{}{INSERT}", source(), target_with("a BIGINT, b STRING, m BIGINT METADATA FROM 'offset'", ""));
    check(&sink, "OF0216", "METADATA … VIRTUAL");
}

#[test]
fn targets_are_complete_and_name_a_database() {
    let writes = |options: &str| format!("{}CREATE TABLE t (a BIGINT, b STRING) WITH ({options});\n{INSERT}", source());
    check(&writes("'connector' = 'jdbc'"), "OF0224", "'url'");
    check(&writes("'connector' = 'jdbc', 'url' = 'jdbc:sqlite:x.db'"), "OF0224", "'table-name' = 't'");
    check(&writes("'connector' = 'jdbc', 'url' = 'jdbc:mysql://h/d', 'table-name' = 't'"), "OF0221", "'mysql'");
    check(&writes("'connector' = 'jdbc', 'url' = 'nonsense', 'table-name' = 't'"), "OF0232", "names no database");
    check(
        &writes("'connector' = 'postgres', 'url' = 'sqlite:x.db', 'table-name' = 't'"),
        "OF0226",
        "not one of 'postgres'",
    );
    check(
        &writes("'connector' = 'sqlite', 'url' = 'postgresql://h/d', 'table-name' = 't'"),
        "OF0226",
        "not one of 'sqlite'",
    );
    check(
        &writes("'connector' = 'sqlite', 'url' = 'sqlite:x.db', 'table-name' = 'a.b.c'"),
        "OF0219",
        "more than a schema",
    );
    check(&writes("'connector' = 'sqlite', 'url' = 'sqlite:x.db', 'table-name' = 'a.'"), "OF0219", "schema.table");
    check(
        &writes("'connector' = 'sqlite', 'url' = 'sqlite:x.db', 'table-name' = 't', 'password' = 'p'"),
        "OF0226",
        "SQLite",
    );
    check(
        &writes("'connector' = 'sqlite', 'url' = 'sqlite:x.db', 'table-nme' = 't'"),
        "OF0223",
        "did you mean table-name?",
    );
    check(
        &writes("'connector' = 'sqlite', 'url' = 'sqlite:x.db', 'table-name' = 't', 'schema' = 'x'"),
        "OF0223",
        "schema.table",
    );
    check(&writes("'connector' = 'print', 'url' = 'x'"), "OF0223", "'print' has no option 'url'");
    let computed =
        format!("{}{}INSERT INTO t (a, c) SELECT a, b FROM s;", source(), target_with("a BIGINT, c AS a", ""));
    check(&computed, "OF0218", "cannot be written");
    let none = format!("{}{}INSERT INTO t SELECT a FROM s;", source(), target_with("c AS 1", ""));
    check(&none, "OF0218", "no physical column");
}

#[test]
fn write_modes_are_complete_and_exclude_each_other() {
    let writes = |columns: &str, options: &str| format!("{}{}{INSERT}", source(), target_with(columns, options));
    const KEYED: &str = "a BIGINT, b STRING, PRIMARY KEY (a) NOT ENFORCED";
    const THREE: &str = "a BIGINT, b STRING, c BIGINT, PRIMARY KEY (a) NOT ENFORCED";
    check(&writes("a BIGINT, b STRING", ", 'merge.a' = 'sum'"), "OF0241", "needs a PRIMARY KEY");
    check(&writes(KEYED, ", 'merge.c' = 'sum'"), "OF0217", "names no column");
    check(&writes(KEYED, ", 'merge.a' = 'sum', 'merge.b' = 'last'"), "OF0241", "a is in the primary key");
    check(&writes(KEYED, ", 'merge.b' = 'sum'"), "OF0241", "takes numbers, and b is STRING");
    check(&writes(KEYED, ", 'merge.b' = 'or'"), "OF0241", "booleans and whole numbers");
    check(&writes(KEYED, ", 'merge.b' = 'lst'"), "OF0225", "did you mean 'last'?");
    check(&writes(THREE, ", 'merge.c' = 'sum'"), "OF0241", "'merge.b' = 'last'");
    check(&writes(THREE, ", 'merge.c' = 'sum', 'write.mode' = 'insert-ignore'"), "OF0240", "exclude each other");
    check(&writes("a BIGINT, b STRING", ", 'write.mode' = 'upsert'"), "OF0225", "with PRIMARY KEY is upserted");
    check(&writes("a BIGINT, b STRING", ", 'write.mode' = 'append'"), "OF0225", "without PRIMARY KEY");
    check(&writes("a BIGINT, b STRING", ", 'write.mode' = 'insert-ignre'"), "OF0225", "takes insert-ignore");
    check(&writes("a BIGINT, b STRING", ", 'write.expect-rows' = '1'"), "OF0240", "needs 'write.statement'");
    let statement = |columns: &str, sql: &str| writes(columns, &format!(", 'write.statement' = '{sql}'"));
    check(&statement(KEYED, "UPDATE x SET b = :b WHERE a = :a"), "OF0240", "has no PRIMARY KEY");
    check(&statement("a BIGINT, b STRING", "UPDATE x SET b = :b"), "OF0242", "does not use the column a");
    check(&statement("a BIGINT, b STRING", "UPDATE x SET b = :b WHERE a = :A"), "OF0242", "did you mean a?");
    check(&statement("a BIGINT, b STRING", "UPDATE x SET b = :b WHERE a = :a AND c = :c"), "OF0242", ":c is no column");
    check(&statement("a BIGINT, b STRING", "  "), "OF0225", "an SQL statement");
    check(
        &writes(
            "a BIGINT, b STRING",
            ", 'write.statement' = 'UPDATE x SET b = :b WHERE a = :a', 'write.expect-rows' = 'one'",
        ),
        "OF0225",
        "not 'one'",
    );
}

#[test]
fn settings_are_known_and_right() {
    let set = |key: &str, value: &str| format!("SET '{key}' = '{value}';\n{}{}{INSERT}", source(), target());
    check(&set("lane", "2"), "OF0250", "did you mean lanes?");
    check(&set("pipeline.nam", "x"), "OF0250", "did you mean pipeline.name?");
    check(&set("epoch.rows.max", "1"), "OF0250", "did you mean epoch.rows_max?");
    check(&set("auto_create", "true"), "OF0250", "did you mean auto-create?");
    check(&set("xyzzy", "2"), "OF0250", "settings: pipeline.name");
    check(&set("lanes", "0"), "OF0225", "from 1 to 1024");
    check(&set("lanes", "two"), "OF0225", "not 'two'");
    check(&set("epoch.rows_max", "0"), "OF0225", "from 1 on");
    check(&set("epoch.bytes_max", "much"), "OF0225", "a size such as");
    check(&set("epoch.interval_max", "soon"), "OF0225", "a duration such as");
    check(&set("execution.checkpointing.interval", "soon"), "OF0225", "a duration such as");
    check(&set("on-error", "panic"), "OF0225", "one of dead-letter, stop, skip");
    check(&set("dead-letters.max", "-1"), "OF0225", "a whole number");
    check(&set("auto-create", "1"), "OF0225", "true or false");
    check(&set("pipeline.name", ""), "OF0263", "is empty");
    check(&set("pipeline.name", " x"), "OF0263", "white space");
    check(&set("table.local-time-zone", "Asia/Shanghai"), "OF0250", "can only be UTC");
    check(&set("table.sql-dialect", "hive"), "OF0250", "can only be default");
    check("SET lanes = 4;", "OF0201", "write SET 'lanes' = '4';");
    check("SET table.exec.state.ttl = 1 h;", "OF0201", "write SET 'table.exec.state.ttl' = '1 h';");
    check("SET x.password = secret;", "OF0201", "in single quotes");
}

#[test]
fn what_needs_operator_state_in_the_grammar_is_refused_by_name() {
    let all = |query: &str| format!("{}{}INSERT INTO t {query};", source(), target());
    check(&all("SELECT * FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(a), INTERVAL '1' MINUTE))"), "OF0311", "TUMBLE");
    check(&all("SELECT * FROM s JOIN r FOR SYSTEM_TIME AS OF s.a ON s.a = r.a"), "OF0310", "FOR SYSTEM_TIME");
    check(&all("SELECT * FROM s, LATERAL TABLE(f(a))"), "OF0306", "LATERAL TABLE");
    check(&all("SELECT * FROM s MATCH_RECOGNIZE (PATTERN (a))"), "OF0321", "MATCH_RECOGNIZE");
}
