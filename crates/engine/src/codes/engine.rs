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
    OF0010: "the source is in another cluster",
        "The cluster id that the ledger remembers is not the one that answers. Positions of one cluster mean nothing in \
         another, even where topics have the same names (a mirror, a restored cluster, a wrong address). Point the pipeline at \
         the old cluster, or choose with `onceflow ledger reset`: `--to beginning`, `--to end`, or `--to keep` where the log \
         is known to be the same with the same offsets.";
    OF0011: "the topic or file was deleted and created again",
        "A topic with the same name but another id (or a file with the same path but another identity) stands where the \
         ledger's positions count. Reading on would lose or repeat records. Choose with `onceflow ledger reset`: \
         `--to beginning` reads the new log from its start, `--to end` goes on with what comes from now on, `--to keep` says \
         that it is the same log after all.";
    OF0012: "a partition does not exist any more",
        "The ledger has a position in a partition, topic or file that is not there. Bring it back, or take it out of the \
         ledger with `onceflow ledger forget FILE --partition … --reason …`.";
    OF0013: "records expired before they were read",
        "The log begins after the ledger's position: retention or an operator deleted records that the pipeline had not read. \
         They are lost to it whatever happens now. `onceflow ledger reset … --to beginning` goes on with the first record \
         that is left and records the gap as an event.";
    OF0014: "the log was truncated",
        "The log ends before the ledger's position: records that were read are gone from it (an unclean leader election, a \
         restored broker, a truncated file). New records would get offsets that the ledger takes for read. Choose with \
         `onceflow ledger reset`.";
    OF0015: "the log has another history",
        "The last record that was read now reads differently at the same offset. The log was rewritten, restored or \
         mirrored. Choose with `onceflow ledger reset`.";
    OF0016: "a pipeline without partitions",
        "A bounded source has nothing to read. See whether the topic or path is the right one.";
    OF0017: "a source did not say where a partition begins",
        "A partition that was just listed could not be asked for its first position. It is tried again.";
    OF0018: "the target keeps no ledger",
        "`print` and `blackhole` are for looking and measuring: they keep neither positions nor dead letters, so there is nothing \
         that `ledger` or `dead-letters` could show.";
    OF0019: "stdout is closed",
        "Whoever read what `print` writes has gone away. The pipeline stops.";
}
