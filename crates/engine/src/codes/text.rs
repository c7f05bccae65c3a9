//! Codes of a pipeline's text: tokens, statements, declarations, options, settings.

codes! {
    OF0201: "the text is not as the language expects",
        "At the underlined place stands something else than the statement can go on with. The message says what was expected. \
         Onceflow reads Flink's SQL: see docs/sql.md for every statement.";
    OF0202: "a quote or a comment is not closed",
        "A string `'…'`, a quoted name (`` `…` `` or `\"…\"`) or a comment `/* … */` is opened and never closed. A quote inside of \
         a string is written twice: `'it''s'`.";
    OF0203: "a semicolon is missing",
        "Statements end with `;`. The next statement began before the one in front of it had ended.";
    OF0204: "the statement or clause is not supported",
        "Flink's SQL has it, or another system's, but Onceflow has not. It is refused instead of ignored, since ignoring it \
         could change what the pipeline does. docs/sql.md lists what there is.";
    OF0205: "a variable is not set",
        "`${NAME}` stands in the text, and neither the environment nor a file given with `-e` has a variable of that name. \
         `${NAME:-default}` gives a default, `${NAME:?message}` a message of your own.";
    OF0206: "a variable is written wrongly",
        "Variables are written `${NAME}`, `${NAME:-default}`, `${NAME:?message}` or `${file:path}`, and stand in strings in \
         single quotes only. A value is never read as SQL. `$${` stands for the characters `${` themselves.";
    OF0207: "a file named in the text cannot be read",
        "`${file:path}` stands for the content of a file without its last line end, and the file could not be read as UTF-8 \
         text. A path that does not begin with `/` starts at the folder in which onceflow was started.";
    OF0208: "a name is declared twice",
        "Two tables, views or columns have the same name. Names are exact: upper and lower case are different.";
    OF0209: "no table has this name",
        "The statement names a table that the text does not declare. Names are exact: upper and lower case are different. \
         Every table needs a `CREATE TABLE` of its own; tables of the database are not looked up.";
    OF0210: "the type is not known or not supported",
        "Types: BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), CHAR(n), VARCHAR(n), STRING, BINARY(n), \
         VARBINARY(n), BYTES, DATE, TIME(p), TIMESTAMP(p), TIMESTAMP_LTZ(p), ARRAY<t>, MAP<k, v>, ROW<name type, …>.";
    OF0211: "a type's length, precision or scale is out of range",
        "DECIMAL takes a precision of 1 to 38 and a scale of 0 to the precision; TIMESTAMP 0 to 9; TIME 0 to 6; CHAR, VARCHAR, \
         BINARY and VARBINARY a length of at least 1.";
    OF0212: "the primary key is wrong",
        "A primary key is declared once, names physical columns, each once, and is `NOT ENFORCED`: Onceflow writes by the key \
         and the database enforces it. A record with NULL in a key column is refused.";
    OF0213: "the clause of CREATE TABLE is not supported",
        "`PARTITIONED BY`, `DISTRIBUTED BY` and `AS SELECT` of Flink have no counterpart yet, and ignoring them would change \
         where rows go.";
    OF0214: "LIKE cannot be applied",
        "`LIKE` copies another declaration of the same text that stands before it. `INCLUDING`, `EXCLUDING` and `OVERWRITING` \
         say which of its parts; what both have and the clause does not say to overwrite is refused.";
    OF0215: "the watermark has no effect yet",
        "`WATERMARK FOR` is read and kept. No operator uses event time yet, so it changes nothing; what would need it \
         (windows, interval joins) is refused by name.";
    OF0216: "the metadata column is wrong",
        "A metadata column names something that the connector knows of each record, and has a type that can hold it. \
         `VIRTUAL` columns are left out when a table is written to; sinks here take no metadata.";
    OF0217: "no column has this name",
        "The clause names a column that the table does not declare. Names are exact: upper and lower case are different.";
    OF0218: "the target's declaration cannot be written to",
        "A table that is written to consists of physical columns. Computed columns are not written.";
    OF0219: "the table name is wrong",
        "`table-name` is a table or `schema.table`, with parts that contain dots or quotes in double quotes: \
         `\"my.schema\".\"my.table\"`.";
    OF0220: "the connector is not known",
        "`'connector'` names none that Onceflow or Flink has. Sources: kafka, filesystem, datagen. Targets: jdbc, postgres, \
         sqlite, print, blackhole.";
    OF0221: "the connector is not available yet",
        "Flink has the connector and Onceflow has not, or not in this direction. It is refused by name: a pipeline must not \
         seem to write where it does not.";
    OF0222: "the connector cannot do this",
        "Sources (kafka, filesystem, datagen) are read; targets (jdbc, postgres, sqlite, print, blackhole) are written. A \
         table of a database cannot be read as a stream.";
    OF0223: "the option is not known",
        "The connector has no option of this name. Nothing is ignored: a slip in a name would otherwise change what the \
         pipeline does without a word.";
    OF0224: "a required option is missing",
        "The connector cannot work without the option. The help shows it as it is written.";
    OF0225: "the value is wrong",
        "The value cannot be read as what the option or the setting takes: a number, a boolean (`true`, `false`), a duration \
         (`500 ms`, `5 s`, `2 min`), a size (`32 mb`) or one of some words.";
    OF0226: "options contradict each other",
        "Two options cannot stand together, or one needs another.";
    OF0227: "the option has no effect here",
        "Flink has the option and it has no meaning in Onceflow. It is accepted so that texts run unchanged, and said once, \
         so that nobody counts on it.";
    OF0228: "another name was used",
        "The name is another system's (Arroyo, RisingWave, Kafka) and was understood. The help shows Flink's name.";
    OF0229: "the format is not known or not available",
        "Formats: json, csv, raw. Others of Flink (avro, debezium-json, protobuf, …) are not available yet and are refused by \
         name.";
    OF0230: "the format does not fit the columns",
        "`raw` takes exactly one physical column for what it decodes, of a type that is made of bytes alone.";
    OF0231: "the key's fields are wrong",
        "`key.fields` names physical columns, each once, that begin with `key.fields-prefix`; it needs `key.format`, and \
         `key.format` needs it.";
    OF0232: "the URL is wrong",
        "A database is named by `jdbc:postgresql://host:port/database`, `postgresql://host:port/database`, `jdbc:sqlite:path` \
         or `sqlite:path`. Passwords are not shown.";
    OF0240: "the write mode is wrong",
        "A target without a primary key is appended to; one with a primary key is upserted; `'merge.<column>'` combines; \
         `'write.mode' = 'insert-ignore'` leaves conflicts out; `'write.statement'` executes a statement of your own. They \
         cannot be mixed.";
    OF0241: "the merge is wrong",
        "`'merge.<column>'` stands for every column that is not in the primary key, with one of sum, min, max, last, first, or, \
         and. `sum` takes numbers; `or` and `and` take booleans and whole numbers.";
    OF0242: "the statement's parameters are wrong",
        "`'write.statement'` takes its parameters by name, `:name`, and each declared column is one of them. A column that no \
         parameter uses, or a parameter that no column gives, is a slip. `::type` is a cast and no parameter.";
    OF0250: "the setting is not known",
        "`SET` names none of pipeline.name, epoch.rows_max, epoch.bytes_max, epoch.interval_max, lanes, state.dir, on-error, \
         dead-letters.max, auto-create.";
    OF0251: "the setting has no effect here",
        "Flink has the setting and it has no meaning in Onceflow, or a different one. It is accepted so that texts run \
         unchanged, and said once.";
    OF0260: "nothing is written",
        "A pipeline needs at least one `INSERT INTO target SELECT … FROM source`.";
    OF0261: "the INSERT is wrong",
        "The target has to be a table that is written to, the listed columns have to be its physical columns, each once.";
    OF0262: "INSERT … VALUES has no source",
        "Rows that stand in the text have no position, so they would be written again at every start. Use your database's own \
         client for them.";
    OF0263: "the pipeline's name is wrong",
        "A name has 1 to 200 characters, no control characters, and does not begin or end with white space.";
    OF0264: "the function cannot be registered",
        "`CREATE FUNCTION` names functions that are registered in Rust by the program that runs the pipeline; this one has \
         none of that name. Java and Python functions do not run here.";
    OF0270: "this build lacks the connector",
        "The program was built without the feature that holds the connector. Build it with `--features kafka,postgres,sqlite`, \
         which is the default.";
}
