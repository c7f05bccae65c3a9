//! Codes of `onceflow torture` and its scratch copies.

codes! {
    OF0150: "the plan of a scratch run cannot be used",
        "`ONCEFLOW_SCRATCH` names a plan that `onceflow torture` writes for the processes it starts: which scratch copy stands \
         in for which home, and how far each source is read. The file cannot be read, belongs to another pipeline, or does not \
         name every home and source. Where you did not set the variable on purpose, unset it.";
    OF0151: "not a scratch copy",
        "`onceflow torture` writes only to places that carry a token which it drew itself a moment ago. The place that was to be \
         written does not carry it, or it is the pipeline's real home under another name. Nothing was written.";
    OF0152: "the home cannot be copied for a scratch run",
        "`onceflow torture` needs a scratch copy of each home: a second SQLite file, or a second PostgreSQL database on the same \
         server. Targets such as `print` and `blackhole` keep nothing that could be compared.";
    OF0153: "no right to create scratch databases",
        "The role of the pipeline may not create databases, and without a second database torture could not be sure to keep away \
         from the real tables. Grant the role CREATEDB, or run torture as a role that has it.";
    OF0154: "a definition cannot be copied",
        "A target table uses something that torture cannot copy into a scratch database, such as a type of an extension that the \
         role may not create. The message names it.";
    OF0155: "nothing to torture with",
        "The sources have no records, so that no fault could lose or repeat one.";
    OF0156: "no such fault",
        "`--only` takes points and what happens there, as they stand in the matrix: `after_move/kill`, \
         `after_move,mid_rows/stop`, `random/kill`.";
    OF0157: "the undisturbed run failed",
        "Before any fault the pipeline runs once to its end on a scratch copy, for comparison. That run did not succeed, so \
         nothing can be compared. Its own message stands below.";
    OF0158: "the undisturbed runs differ",
        "Two runs without any fault gave different numbers of rows, so that a difference after a fault would prove nothing. That \
         happens where the query decides with time or chance, as in `WHERE RAND() < 0.5`.";
    OF0159: "no place for scratch files",
        "A folder for plans, logs and scratch files could not be made or written. Set TMPDIR to a folder on a local disk.";
}
