//! Codes of the ledger, shared by all homes and by the commands that read it.

codes! {
    OF0901: "the ledger is newer than this program",
        "The ledger in the database was made or migrated by a newer version of Onceflow, and this program does not know what its \
         tables mean. Nothing was changed. Run that version or a newer one. A ledger is never migrated backwards.";
    OF0902: "the pipeline's wiring has changed",
        "The ledger knows the pipeline by its name, but with other sources or tables. Going on would leave positions of sources that \
         are read no more, and would start new ones: whether that is meant is the operator's decision. Either give the pipeline a \
         new name (`SET 'pipeline.name' = '…'`), or undo the change, or run once with `--accept-wiring`; the choice becomes an event.";
    OF0903: "the target has rows and no ledger",
        "A target table already has rows, and the ledger holds no position for this pipeline: nobody can tell which source records \
         those rows came from. Either write into an empty table, or take the positions over from what wrote the rows (`onceflow ledger \
         import`), or run once with `--adopt` if the rows have nothing to do with the source; the choice becomes an event.";
    OF0904: "the target table is another one",
        "The table has the name that the ledger knows, but it was dropped and created again, or restored by itself: rows that the \
         ledger counts as written may be gone. Either restore the table, or start over (`onceflow ledger reset`), or run once \
         with `--adopt` to go on with the table as it is; the choice becomes an event.";
    OF0905: "the database is another one",
        "The ledger was made in another database system: this is a copy of it, a restored dump or an upgraded server. If the original \
         is still written to, both would consume the source on their own. Either connect to the original, or start over under \
         another name, or run once with `--adopt` if this copy takes its place; the choice becomes an event.";
    OF0906: "the ledger does not hold what is asked for",
        "The ledger has no such pipeline or shard. It may have been removed (`onceflow ledger forget`) while the pipeline ran, or the \
         database may have been restored to a time before the shard was founded. Start the pipeline again; it says what it finds.";
    OF0907: "the pipeline's name is taken",
        "The ledger has a pipeline of this name that reads other sources and writes other tables: another pipeline, not an older \
         version of this one. Give this one a name of its own: `SET 'pipeline.name' = '…'`.";
    OF0908: "the ledger cannot be read",
        "A row or a table of the ledger is not as Onceflow writes it: it was edited by hand, restored in part, or damaged. Nothing \
         was changed. The message names the table and the value; mend it with a plain UPDATE, or restore the ledger with its tables.";
    OF0909: "dead letters cannot be replayed",
        "Not all of the named dead letters are there and still to be replayed: some were replayed by somebody else meanwhile, purged, \
         or belong to another pipeline. The transaction was aborted; no row was written. List them again and replay what is left.";
    OF0910: "the ledger is not where this instance left it",
        "The ledger moved without this instance: the database was restored, somebody changed the ledger by hand, or an earlier commit \
         was applied after all. The transaction was aborted in the server. The instance claims again and goes on from what stands there.";
    OF0911: "a change of the ledger was refused",
        "A command expected to change a certain number of the ledger's rows and found another number: somebody changed the ledger \
         meanwhile. Everything was rolled back. Look again and repeat the command.";
}
