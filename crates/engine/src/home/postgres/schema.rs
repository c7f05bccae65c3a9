//! The ledger's tables: created on first use, versioned, readable with psql.
//!
//! Columns that change with every commit are in no index, and pages keep room, so that updates stay in their page.

use crate::codes;
use crate::error::{Error, Result};
use crate::home::postgres::classify;
use tokio_postgres::Client;

/// The version of the ledger that this program writes.
pub(super) const VERSION: i32 = 2;

/// The steps from nothing to [`VERSION`], in order. A step that was released is never changed; a new one is added.
const MIGRATIONS: &[(i32, &str)] = &[(1, FIRST), (2, OUTBOX)];

/// Serialises creation and migration, over all pipelines of a database.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(7021792031160527218)";

/// What stands in the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    schema: bool,
    version: Option<i32>,
}

impl State {
    /// Whether the ledger's tables are there.
    pub(super) fn exists(self) -> bool {
        self.version.is_some()
    }
}

const LOOK: &str = "SELECT to_regnamespace('onceflow') IS NOT NULL AS schema,
    EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'onceflow' AND c.relname = 'migration') AS ledger";

/// Looks what stands in the database; refuses a ledger that is newer than this program.
pub(super) async fn look(client: &Client) -> Result<State> {
    let row = client.query_one(LOOK, &[]).await.map_err(|error| classify(error, "look for the ledger"))?;
    let (schema, ledger): (bool, bool) = (row.get("schema"), row.get("ledger"));
    if !ledger {
        return Ok(State { schema, version: None });
    }
    let newest = "SELECT version, program FROM onceflow.migration ORDER BY version DESC LIMIT 1";
    let row = client.query_opt(newest, &[]).await.map_err(|error| classify(error, "read the ledger's version"))?;
    let version: i32 = row.as_ref().map_or(0, |row| row.get("version"));
    if version > VERSION {
        let program: String = row.map_or_else(String::new, |row| row.get("program"));
        return Err(Error::config(
            codes::OF0901,
            format!("the ledger is of version {version}, this program knows {VERSION}"),
        )
        .note(format!("it was migrated by onceflow {program}"))
        .help(format!("run onceflow {program} or newer")));
    }
    Ok(State { schema, version: Some(version) })
}

/// Brings the ledger to [`VERSION`], in the open transaction, under [`LOCK`].
pub(super) async fn migrate(client: &Client, state: State, program: &str) -> Result<()> {
    if !state.schema {
        let created = client.batch_execute("CREATE SCHEMA onceflow").await;
        created.map_err(|error| classify(error, "create the schema onceflow"))?;
    }
    let from = state.version.unwrap_or(0);
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > from) {
        let step = client.batch_execute(sql).await;
        step.map_err(|error| classify(error, "create the ledger's tables in the schema onceflow"))?;
        let done = "INSERT INTO onceflow.migration (version, program) VALUES ($1, $2)";
        let done = client.execute(done, &[version, &program]).await;
        done.map_err(|error| classify(error, "record the ledger's version"))?;
    }
    Ok(())
}

/// Events say what happened to the ledger; a claim's are trimmed, an operator's are kept.
const FIRST: &str = r#"
CREATE TABLE onceflow.migration (
    version integer PRIMARY KEY,
    program text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE onceflow.pipeline (
    pipeline uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    fingerprint text NOT NULL,
    wiring text NOT NULL,
    system_identifier text,
    timeline text,
    database text NOT NULL
);
CREATE TABLE onceflow.target (
    pipeline uuid NOT NULL REFERENCES onceflow.pipeline ON DELETE CASCADE,
    name text NOT NULL,
    target text NOT NULL,
    table_oid bigint NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, name)
);
CREATE TABLE onceflow.shard (
    pipeline uuid NOT NULL REFERENCES onceflow.pipeline ON DELETE CASCADE,
    shard text COLLATE "C" NOT NULL,
    generation bigint NOT NULL CHECK (generation >= 0),
    nonce text NOT NULL,
    epoch bigint NOT NULL CHECK (epoch >= 0),
    chain text NOT NULL,
    state text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, shard)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 5000);
CREATE TABLE onceflow.position (
    pipeline uuid NOT NULL,
    shard text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    cluster_id text NOT NULL,
    topic_id text NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    leader_epoch integer,
    tail_offset bigint,
    tail_fingerprint text,
    watermark bigint,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, source, topic, partition),
    FOREIGN KEY (pipeline, shard) REFERENCES onceflow.shard ON DELETE CASCADE,
    CHECK ((tail_offset IS NULL) = (tail_fingerprint IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 5000);
CREATE TABLE onceflow.commit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline uuid NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    generation bigint NOT NULL,
    lane text NOT NULL,
    shards jsonb NOT NULL,
    records bigint NOT NULL,
    used bigint NOT NULL,
    filtered bigint NOT NULL,
    late bigint NOT NULL,
    dead bigint NOT NULL,
    skipped bigint NOT NULL,
    prepared jsonb NOT NULL,
    tables jsonb NOT NULL,
    now timestamptz NOT NULL,
    seed text NOT NULL
);
CREATE INDEX commit_pipeline ON onceflow.commit (pipeline, id);
CREATE TABLE onceflow.dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline uuid NOT NULL,
    source text NOT NULL,
    topic text NOT NULL,
    partition integer,
    "offset" bigint,
    "timestamp" timestamptz,
    key bytea,
    value bytea,
    headers json,
    code text NOT NULL,
    reason text NOT NULL,
    sqlstate text,
    place text,
    target_table text,
    "row" json,
    spans json,
    created_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz,
    replay_reason text
);
CREATE INDEX dead_letter_pipeline ON onceflow.dead_letter (pipeline, id);
CREATE TABLE onceflow.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    detail text,
    reason text
);
CREATE INDEX event_pipeline ON onceflow.event (pipeline, kind, id);
COMMENT ON SCHEMA onceflow IS 'The ledger of Onceflow: who owns a pipeline, how far it has got, what each commit contained';
COMMENT ON TABLE onceflow.pipeline IS 'Pipelines that write into this database';
COMMENT ON TABLE onceflow.target IS 'The tables that each pipeline writes, with the oid they had when it first did';
COMMENT ON TABLE onceflow.shard IS 'Who owns each shard (generation, nonce) and which epoch it has reached';
COMMENT ON TABLE onceflow.position IS 'The next record to read of each partition';
COMMENT ON TABLE onceflow.commit IS 'One row a transaction: spans, counts, digests, chain hashes';
COMMENT ON TABLE onceflow.dead_letter IS 'Records that could not be used, with the reason';
COMMENT ON TABLE onceflow.event IS 'Claims and every decision of an operator';
"#;

/// Messages for targets that are no home. `due_at` is in milliseconds since 1970 and 0 before the first failure.
const OUTBOX: &str = r#"
CREATE TABLE onceflow.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline uuid NOT NULL,
    channel text NOT NULL,
    key text COLLATE "C" NOT NULL,
    idempotency_key text NOT NULL,
    message text NOT NULL,
    compensation text,
    source text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'compensated', 'refused')),
    leased_by text,
    attempts integer NOT NULL DEFAULT 0,
    due_at bigint NOT NULL DEFAULT 0,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);
CREATE INDEX outbox_pending ON onceflow.outbox (pipeline, id) WHERE state = 'pending';
CREATE INDEX outbox_waiting ON onceflow.outbox (pipeline, channel, key, id)
    WHERE state = 'pending' AND (leased_by IS NOT NULL OR due_at > 0);
COMMENT ON TABLE onceflow.outbox IS 'Messages for the world outside, delivered after the commit';
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_lead_to_the_version_without_a_gap() {
        let steps: Vec<i32> = MIGRATIONS.iter().map(|(version, _)| *version).collect();
        let expected: Vec<i32> = (1..=VERSION).collect();
        assert_eq!(steps, expected);
    }
}
