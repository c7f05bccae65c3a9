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
}
