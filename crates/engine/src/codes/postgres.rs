//! Codes of PostgreSQL. 01–29 connection, session and ledger; from 30 on tables and writing.

codes! {
    OF0701: "PostgreSQL does not answer",
        "No connection, or the connection was lost. It is tried again for as long as `--retry-for` allows. Whatever was not \
         committed was rolled back by the server; the pipeline claims its shards again and goes on at the position in the ledger.";
    OF0702: "PostgreSQL cannot work now",
        "The server answered that it cannot do this now: it is starting, shutting down or out of resources, a lock was not \
         granted in time, or transactions got in each other's way. The transaction was rolled back and is tried again.";
    OF0703: "PostgreSQL refuses the login",
        "User, password, database or the server's `pg_hba.conf` do not fit the URL. The server's own words are in the message. \
         Check with `psql` and the same URL.";
    OF0704: "a privilege is missing",
        "The role may not do what the pipeline needs. It needs a schema `onceflow` of its own, and SELECT, INSERT, UPDATE and DELETE \
         (as its modes require) on the target tables. The help shows the GRANT.";
    OF0705: "TLS could not be set up",
        "The server offers no TLS, or its certificate cannot be verified as `sslmode` demands. `require` encrypts without \
         verifying, `verify-ca` verifies who signed the certificate, `verify-full` also that it is for this host.";
    OF0706: "the PostgreSQL URL is wrong",
        "The URL is `postgresql://user:password@host:port/database?sslmode=…`, or JDBC's `jdbc:postgresql://host:port/database?user=…`. \
         Several hosts are separated by commas; a folder with a Unix socket is given as `?host=/run/postgresql`. Characters such as \
         `@`, `/` and `%` in a password are written as `%40`, `%2F`, `%25`.";
    OF0707: "an unknown parameter in the PostgreSQL URL",
        "Parameters of the URL are checked, so that a misspelt `sslmode` cannot turn off what it was meant to turn on.";
    OF0708: "PostgreSQL is read-only here",
        "The server is a standby in recovery, or transactions are read-only on it. Onceflow claims and commits on the writable primary \
         only, since a replica gives stale answers. It is tried again; name all hosts in the URL and the primary is found by itself.";
    OF0709: "this PostgreSQL server cannot be a home",
        "The server is too old (at least 12 is needed) or the database has an encoding that cannot hold every record (UTF8 is needed).";
    OF0710: "a pooler gives every transaction another session",
        "Between Onceflow and PostgreSQL stands a pooler (such as PgBouncer) in transaction or statement mode. Onceflow's session has \
         settings, prepared statements and temporary tables of its own and needs one server session. Connect to the server directly, \
         or to a pool in session mode.";
    OF0711: "PostgreSQL refused a statement",
        "The server refused a statement of the ledger or of the pipeline with the words and the SQLSTATE in the message. The \
         transaction was rolled back.";
    OF0712: "a table is not as it was at the start",
        "A table or column that was there when the pipeline started is missing or of another type now. The transaction was rolled \
         back. Start the pipeline again: it compares every declaration with its table and says what to mend.";
    OF0713: "the answer to COMMIT was lost",
        "The connection was lost after COMMIT was sent, so only the ledger can tell whether the commit was applied. COMMIT is never \
         sent again: the pipeline claims its shards, which waits for the transaction, and goes on from what stands there.";
    OF0714: "an owner's session cannot be ended",
        "An older instance of the pipeline holds the ledger's row, and this role may not end that session. Let both instances use the \
         same role, or grant `pg_signal_backend`, or stop the older one.";
    OF0730: "the target table does not exist",
        "The table that the declaration names is not in the database, or not in a schema of the search path. The help shows the \
         CREATE TABLE that fits the declaration; `SET 'auto-create' = 'true'` lets Onceflow execute it.";
    OF0731: "the target table lacks a column",
        "The declaration names a column that the table does not have. Names are exact: case counts. Add the column with the \
         statement shown, or leave it out of the declaration and of the INSERT.";
    OF0732: "a column is of another type than declared",
        "Values of the declared type cannot be kept exactly in the column's type, so nothing is written. Declare the column as the \
         help says and convert in the query (`CAST`), or change the table. What may or may not fit by its value, such as a BIGINT in an \
         `integer` column, is accepted: each value is looked at, and one that does not fit is handled as `on-error` says.";
    OF0733: "the target table has no such key",
        "Upsert and merge decide by a unique index which row is meant. It must be on exactly the columns of the declared PRIMARY KEY, \
         over all rows, over plain columns, valid and not DEFERRABLE. The help shows the statement that creates it.";
    OF0734: "a column must have a value and gets none",
        "The table has a NOT NULL column without a default that the declaration does not name: every row would be refused. Declare it, \
         give it a default, or drop the NOT NULL.";
    OF0735: "a column that PostgreSQL computes cannot be written",
        "Generated columns and columns that are GENERATED ALWAYS AS IDENTITY get their values from PostgreSQL. Leave them out of the \
         declaration. An identity column can be written where it is GENERATED BY DEFAULT.";
    OF0736: "the target is no table of this database",
        "Rows are written into ordinary and partitioned tables. A foreign table commits on another server, on its own, so \
         the promise of one transaction would not hold; views and tables with rewriting rules do not go with COPY and ON CONFLICT. A statement of \
         your own in `write.statement` reaches them where PostgreSQL allows it.";
    OF0737: "a privilege on a target is missing",
        "The role may not do what the declared tables need. The help shows the GRANT. Append needs INSERT; upsert and merge need \
         SELECT, INSERT and UPDATE (SELECT only on the key's and the merged columns); rows that are retracted need DELETE.";
    OF0738: "a name that PostgreSQL cannot hold",
        "Names in PostgreSQL have at most 63 bytes and no NUL character. PostgreSQL would cut a longer one without an error, and \
         another object might be meant.";
    OF0739: "a merge does not go with the column's type",
        "`sum` needs a number, `or` and `and` a boolean or a whole number, `min` and `max` a type with an order that is the same \
         everywhere: numbers, booleans, dates, times, bytes, and texts, which are compared by their bytes. `last` and `first` go with any \
         type. A NULL counts as nothing; only `last` and `first` take it like any other value.";
    OF0740: "PostgreSQL does not accept the statement",
        "The server was asked to prepare `write.statement` and refused, with the words in the message. Parameters are written as \
         `:column`, or `:\"Column\"` where the name needs quotes; a type is given by a cast, `:column::bigint`.";
    OF0741: "a statement of this kind cannot be a sink",
        "`write.statement` is executed once per row inside Onceflow's transaction. It can change rows; it cannot define objects, change \
         settings, or end the transaction that the ledger moves in.";
    OF0742: "the statement has a parameter that is not declared",
        "Each `:name` in `write.statement` is a column of the declaration, whose values come from the INSERT. Names are exact.";
    OF0743: "a parameter of the statement has another type",
        "PostgreSQL takes a parameter's type from where it stands in the statement, and values of the declared type do not go into it \
         exactly. Cast the parameter, or declare the column as the help says.";
    OF0750: "PostgreSQL refused a row",
        "A constraint, a trigger, a policy or a type refused the row, with the words and the SQLSTATE that stand with it. All rows of its \
         record were left out together; all other records went in.";
    OF0751: "the statement did not touch as many rows as expected",
        "`write.expect-rows` says how many rows each execution of `write.statement` has to touch, and this one touched another number \
         (often none: there is no row to update). Its effect was undone.";
    OF0752: "a value does not fit its column",
        "The column's type cannot hold the value without changing it: it is out of range, too long, has digits that would be \
         rounded away, or holds a NUL character. Onceflow never rounds, cuts or drops a value in silence.";
    OF0753: "a key is NULL",
        "A column of the declared PRIMARY KEY is NULL in this row. NULL is equal to nothing, so the row could never be found again \
         and would be inserted once more each time.";
}
