//! Codes of the engine and of ownership.

codes! {
    OF0001: "internal error",
        "Onceflow found itself in a state that its own rules exclude. Nothing was committed after it. Please report it with \
         the message; the process ends with exit code 101.";
    OF0002: "fenced: another instance owns the pipeline",
        "Another instance claimed the pipeline's shards after this one did. The newest claim wins; this instance committed \
         nothing more and ends with exit code 4. Do not restart it blindly: two instances that restart each other only take \
         turns. Run the second one with `--standby` if it is meant to wait.";
    OF0003: "the retry time is over",
        "A source or a home did not work again within `--retry-for`. Nothing is lost: start the pipeline again once the \
         system is back, and it goes on at the position in the ledger.";
    OF0004: "stopped at a record",
        "`on-error` is `stop` and a record could not be used. The transaction was not committed. Mend the record's cause and \
         start again, or let the record become a dead letter with `'on-error' = 'dead-letter'`.";
    OF0005: "too many dead letters",
        "The pipeline has more dead letters than `dead-letters.max` allows. The transaction that would have added the last \
         ones was not committed. Look at them with `onceflow dead-letters list`, mend the cause, replay or purge them.";
}
