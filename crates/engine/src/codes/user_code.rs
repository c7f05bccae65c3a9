//! Codes of pipelines whose logic is Rust code.

codes! {
    OF1001: "your code stopped the pipeline",
        "The handler returned an error. The transaction was rolled back: neither its rows nor the positions changed, and the next \
         start reads the same records again. Return `Error::retry` for what may work later, and `record.dead_letter(..)` for a record that \
         never will.";
    OF1002: "your code panicked",
        "A decoder, a filter, a map or the handler panicked. The transaction was rolled back, the process goes on, and the pipeline ends \
         with this error. The next start reads the same records again.";
    OF1003: "your code ended the engine's transaction",
        "The transaction belongs to the engine, which commits rows and positions together. BEGIN, COMMIT and ROLLBACK are refused in the \
         methods of `Tx`. Where a handler ended the transaction through the driver's own connection, nothing of it was committed: a COMMIT \
         before the end of the handler fails in the server. What it wrote **after** that was outside every transaction.";
    OF1004: "your code asks for another try",
        "The handler returned `Error::retry`, or took longer than the database lets a transaction wait. The transaction was rolled back \
         and the same records are handled again after a pause, a bounded number of times in a row (`.retries(n)`); then the pipeline stops.";
    OF1005: "your code put a record aside",
        "The handler said that this record cannot be used (`record.dead_letter(..)`). It is in the dead-letter table with the words of the \
         handler, written in the transaction in which its neighbours took effect.";
    OF1006: "another database than the code expects",
        "`tx.postgres()` works in PostgreSQL and `tx.sqlite()` in SQLite. The other methods of `Tx` work in both. Homes that keep no ledger \
         have no transaction for a handler.";
    OF1007: "your decoder refused the record",
        "The decoder, or a `try_map`, returned an error. The record is in the dead-letter table with the words of the error. `.on_error(..)` \
         chooses another way.";
    OF1008: "the pipeline's name is not usable",
        "The ledger keeps positions under the name. It has 1 to 100 letters, digits, dots, hyphens and underscores.";
    OF1009: "a statement failed, and the code went on",
        "PostgreSQL aborts a transaction at the first statement that fails, and the handler returned `Ok` all the same. Nothing was \
         committed. Return the error with `?`, or put a SAVEPOINT before a statement that may fail and ROLLBACK TO it after.";
    OF1010: "the database refused a statement of your code",
        "The message has the database's own words. The transaction was rolled back, and the next start reads the same records again.";
    OF1011: "a message was refused for good",
        "A channel of the outbox said that it will never take the message, or was tried as often as it may be. The message is in the \
         outbox as `refused` with the reason, and here as a dead letter. What the transaction wrote beside it stays: give such messages a \
         compensation (`.or_compensate(..)`).";
    OF1012: "a channel that cannot be used",
        "The handler wrote a message for a channel that the pipeline does not have, or a channel's own address or settings are not valid. \
         Channels are declared where the pipeline is run: `.channel(\"mail\", Http::post(\"https://..\"))`.";
    OF1013: "the values do not fit the table",
        "`append_into`, `upsert_into` and `merge_into` take types and keys from the table in the database, and columns from the fields of the \
         value by their names. All columns without a default are written; `Table::named(..).columns(..)` chooses others. Every field needs \
         a column that is written, and to upsert or merge the table needs a primary key.";
    OF1014: "a value does not fit its column",
        "A field of the value cannot be held exactly by the column: a number out of range, a text that is no date, a moment finer than \
         microseconds. The record is in the dead-letter table.";
    OF1015: "a database of an unknown kind",
        "`Database::url` takes a PostgreSQL URL or `sqlite:` and a file. Features of the crate that were left out take their databases with \
         them.";
}
