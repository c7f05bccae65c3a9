//! Codes of the command line.

codes! {
    OF0101: "the pipeline cannot be read",
        "The file with the pipeline does not exist or cannot be read. `onceflow new` prints pipelines to start from.";
    OF0102: "the pipeline is not UTF-8",
        "Pipelines are text in UTF-8. Convert the file, for instance with `iconv`.";
    OF0103: "the environment file cannot be read",
        "The file given with `--env-file` does not exist or cannot be read.";
    OF0104: "a line of the environment file is not NAME=VALUE",
        "An environment file has one `NAME=VALUE` a line; empty lines and lines that begin with `#` are left out.";
    OF0105: "unknown template",
        "`onceflow new` has no template of this name; without a name it prints the list.";
    OF0106: "unknown code",
        "No error has this code. `onceflow explain` takes a pipeline's file or a code such as OF0203.";
    OF0107: "no such pipeline in the ledger",
        "The database has no ledger, or its ledger does not know a pipeline of this name. The names it knows are in the \
         message.";
    OF0108: "no such partition in the ledger",
        "The ledger does not hold the partition that was named. Partitions are written as `topic/number`, files as `path/0`.";
    OF0109: "not a place to go on from",
        "`--to` takes `beginning`, `end`, `keep`, or the offset of the next record to read.";
    OF0110: "the pipeline has a ledger already",
        "`ledger import` is for the first start. Where the ledger already has positions, decide with `ledger reset`.";
    OF0111: "nothing to import",
        "The consumer group or table has no offset for any partition of the pipeline's sources.";
    OF0112: "no such dead letter",
        "The ledger has no dead letter with this number, or it was replayed before. `onceflow dead-letters list` shows them.";
    OF0113: "a dead letter cannot be replayed",
        "A row that many records made (a grouped row) carries no record that could be read again. Mend the table and write \
         the row by hand, then purge the dead letter.";
    OF0114: "the pipeline has several homes",
        "The command works on one home at a time; name it with `--home URL --pipeline NAME`.";
    OF0115: "not the address of a home",
        "`--home` takes `postgresql://…`, `jdbc:postgresql://…`, `sqlite:PATH` or `jdbc:sqlite:PATH`.";
    OF0116: "the ledger changed meanwhile",
        "Between reading the ledger and writing the decision something else wrote to it. Nothing was changed. Look again with \
         `onceflow ledger show` and repeat the command.";
}
