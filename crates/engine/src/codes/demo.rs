//! Codes of `demo`.

codes! {
    OF0140: "the demo cannot use a file",
        "The demo writes its log, three databases and a report into a folder: `--out DIR`, or a new one in the folder for temporary \
         files. It writes over nothing, so the folder has to be new or empty; and one of its three processes may have ended with an \
         error, which stands in the `.log` file that the message names.";
    OF0141: "the demo cannot use a system of yours",
        "With `--kafka` and `--postgres` the demo creates a topic and a database of its own, under new names, and removes them at the \
         end. The brokers or the server cannot be reached, or do not allow that; the message has their words. Brokers that want a \
         login cannot be used.";
}
