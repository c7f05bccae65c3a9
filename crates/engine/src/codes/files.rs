//! Codes of files and generated data.

codes! {
    OF0501: "no file to read",
        "The path is no file and no folder, or the pattern matches nothing. Without `source.monitor-interval` a source ends \
         when its files are read, so nothing at all is taken for a mistake. With it the source waits for files to appear. \
         Files whose names begin with `.` or `_` are passed over in folders and patterns.";
    OF0502: "a file cannot be read",
        "The operating system refuses to list, open or read the path. Look at its permissions and at the file system.";
    OF0503: "a compressed file is damaged or not complete",
        "The `.gz` or `.zst` file ends early or fails its checksum. Everything before the named byte was read and is \
         committed. Replace the file by a whole one with the same beginning and start again. While a folder is followed an \
         incomplete file is tried again, since somebody may still be writing it; write to a hidden name and rename instead.";
    OF0504: "the path is not a valid pattern",
        "`path` is a file, a folder, or a pattern with `*`, `?`, `[abc]` and `**`.";
    OF0505: "a file was changed while it was read",
        "The file became shorter than what was already read, or its beginning was rewritten. Lines that were not read yet may \
         be lost, so Onceflow stops. Rotate logs by renaming (logrotate's `create`), not by copying and truncating (`copytruncate`).";
    OF0506: "a file looks like a copy of another one",
        "A new file appeared that begins exactly like a file that is being followed, as logrotate's `copytruncate` and `cp` \
         make them. Reading it would repeat its records. Move it out of the pattern, or rotate by renaming.";
    OF0507: "a path is not valid UTF-8",
        "The ledger keeps paths as text. Rename the file.";
    OF0508: "a file is gone before it was read",
        "The file was removed while it was being read. Bring it back and start again, or tell the ledger to forget it.";
    OF0521: "an option of datagen is wrong",
        "`datagen` knows for each field a kind (`random` or `sequence`) with its limits. The message names the field and the value.";
    OF0522: "datagen cannot make this type",
        "`datagen` makes BOOLEAN, integers, FLOAT, DOUBLE, DECIMAL, STRING, BYTES, DATE, TIME, TIMESTAMP, TIMESTAMP_LTZ, and \
         ARRAY, MAP<STRING, …> and ROW of them; a sequence makes integers, FLOAT, DOUBLE, DECIMAL and STRING.";
}
