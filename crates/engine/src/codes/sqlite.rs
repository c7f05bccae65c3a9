//! Codes of SQLite as a home.

codes! {
    OF0801: "the SQLite URL cannot be used",
        "A URL is `sqlite:path` or `jdbc:sqlite:path`: a path in the file system, relative to where Onceflow runs, or absolute. \
         A database in memory, a temporary one and a `file:` URI are refused: what they hold is gone with the process, rows and \
         ledger alike, and nothing could say what was already done.";
    OF0802: "the database file cannot be opened",
        "The folder does not exist or is none, the path is a folder, or the operating system forbids to read or write the file or \
         its folder. SQLite writes two more files (`-wal`, `-shm`) beside the database, and Onceflow a lock file for each \
         pipeline, so the folder has to be writable too.";
    OF0803: "the database is locked",
        "Another connection has held SQLite's only write lock for longer than Onceflow waits. Onceflow goes on trying. A process \
         that was stopped in the middle of a transaction holds the lock until it goes on or ends; the note names it where the \
         operating system tells.";
    OF0804: "the database is read-only",
        "The file, or the file system that it is on, is read-only now. Nothing was committed; Onceflow goes on trying.";
    OF0805: "the disk is full",
        "SQLite could not write because no space is left on the disk, or because the database has reached its `max_page_count`. \
         Nothing was committed; Onceflow goes on once there is room.";
    OF0806: "SQLite cannot work now",
        "Reading or writing the file failed, memory is short, or another connection changed the schema in the middle. Onceflow \
         opens the database anew and claims again: what was committed stands in the ledger.";
    OF0807: "the file is not a SQLite database",
        "The file is something else, or it is encrypted (SQLCipher, SEE): the SQLite in Onceflow has no key for it. Nothing was \
         changed.";
    OF0808: "the database is damaged",
        "SQLite found its file malformed. Run `sqlite3 FILE 'PRAGMA integrity_check'`, restore a backup of the whole file (rows and \
         ledger are in it together), and start again: the pipeline goes on at the position in the restored ledger.";
    OF0809: "the database is on a network file system",
        "File locks on NFS, SMB and the like do not work reliably, and without them two processes can both believe that they own \
         the database: SQLite's own documentation warns of corruption. Put the file on a local disk.";
    OF0810: "the database file was replaced",
        "The path names another file than the one that was open: it was deleted, moved, or restored from a backup while Onceflow \
         ran. Nothing was committed to the old one after that. Onceflow opens the new file and claims in it.";
    OF0811: "the target table is missing",
        "The declaration names a table that the database does not have. Create it with the statement shown, or let Onceflow do \
         so with `SET 'auto-create' = 'true'`.";
    OF0812: "the target is not a plain table",
        "Onceflow writes ordinary tables of the main database. Views, virtual tables, SQLite's own tables and tables of attached \
         databases are refused: SQLite cannot say there what became of a row, or commit them together with the ledger.";
    OF0813: "a declared column is missing",
        "The real table has no column of that name. Add it with the statement shown, or take it out of the declaration.";
    OF0814: "a column has another type",
        "SQLite stores a value by the column's *affinity*, which it guesses from the words of the declared type. In this column it \
         would change the value: lose digits, turn the text `007` into the number 7, store a number as text. Declare the column as \
         shown, or cast in the query.";
    OF0815: "the key is missing or another one",
        "The declared PRIMARY KEY has no unique index over exactly its columns in the real table, so SQLite could not find the row \
         that an upsert or a merge means. Create the index shown, or declare the key that the table has.";
    OF0816: "a column needs a value",
        "A column of the real table is NOT NULL, has no default, and is not declared: every row would be refused. Declare it and \
         select a value for it, or give it a default.";
    OF0817: "a generated column is declared",
        "SQLite computes the column by itself and refuses values for it. Take it out of the declaration.";
    OF0818: "a type that SQLite cannot hold",
        "The declared type has no form in SQLite. Cast the column in the query to one that has.";
    OF0819: "the statement cannot be used",
        "`write.statement` is one INSERT, UPDATE, DELETE or REPLACE with its values as parameters `:name`, each a declared column. \
         Anything that ends the transaction, changes the schema, attaches a database, sets a pragma, touches the ledger's tables \
         or only reads is refused.";
    OF0820: "the database refused a row",
        "SQLite refused the row: a constraint, a trigger, or a value that it cannot take. The dead letter carries SQLite's own \
         words and the name of its result code. The record's other rows were left out with it.";
    OF0821: "a value that SQLite cannot store",
        "The value has no form in SQLite that comes back as it was: NaN, which SQLite would silently store as NULL, an unsigned \
         number beyond 63 bits, a date beyond the calendar.";
    OF0822: "a merged value does not fit",
        "The merged value is beyond the range of the declared type, or the value in the table is not of the declared type. Nothing \
         was added: a sum that SQLite would silently turn into a floating-point number is refused.";
    OF0823: "a key is NULL",
        "A row for a table with a key has NULL in a key column. SQLite would take every such row for a new one.";
    OF0824: "a statement touched another number of rows",
        "`write.expect-rows` says how many rows each execution of the statement has to touch, and it touched another number.";
    OF0825: "a row was left out silently",
        "SQLite reported success and wrote nothing: the table has a constraint with ON CONFLICT IGNORE, or a trigger with \
         RAISE(IGNORE). Onceflow never lets a record vanish; use `'write.mode' = 'insert-ignore'` if it may be left out.";
    OF0826: "the transaction was rolled back from within",
        "A trigger with RAISE(ROLLBACK), or a constraint with ON CONFLICT ROLLBACK, rolled back the whole transaction. Onceflow cannot \
         work with that: one bad row would undo all others. Change it to ABORT.";
    OF0827: "a deferred foreign key is violated",
        "At the end of the transaction a row refers to a parent that is not there. The dead letter is the record whose rows \
         left it so.";
}
