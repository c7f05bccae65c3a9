//! Codes of `demo`.

codes! {
    OF0140: "the demo cannot use a file",
        "The demo writes its log, three databases and a report into a folder: `--out DIR`, or a new one in the folder for temporary \
         files. It writes over nothing, so the folder has to be new or empty; and one of its three processes may have ended with an \
         error, which stands in the `.log` file that the message names.";
}
