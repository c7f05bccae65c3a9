//! Codes of `audit`.

codes! {
    OF0120: "nothing to audit",
        "`print` and `blackhole` keep no ledger and no rows, so there is nothing that could be compared with the source.";
    OF0121: "the ledger cannot be read as it stands",
        "A row of the ledger is not of the form that Onceflow writes: somebody edited it, or it was damaged. The message names \
         the table, the row and the value. `onceflow ledger history` shows the rows around it.";
    OF0122: "not an epoch or a time",
        "`--since` and `--until` take the number of an epoch, or a time such as `2026-01-31T12:00:00Z` or `2026-01-31`.";
    OF0123: "no such column to look for repeated keys",
        "`--key` names a column of a target table. The message lists the columns there are.";
    OF0124: "what is compared with what is not clear",
        "An audit of a table that something else writes needs `--topic`, `--brokers`, `--home`, `--table` and `--map`. The map \
         gives for each column of the table the field of the record: `--map 'id=id, amount=amount'`; the first column is the \
         key by which rows are found.";
    OF0125: "the table cannot be compared",
        "The table that was named does not exist, or has no column of a name that `--map` gives.";
    OF0126: "the report cannot be written",
        "`--html` names a file that cannot be created or written. It is created before anything is read, so that a long audit is \
         not in vain.";
}
