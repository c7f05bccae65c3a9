//! Codes of `doctor`.

codes! {
    OF0130: "no ledger to examine",
        "The home has no ledger, or none of this pipeline: it has not run here yet. What rests on the ledger's positions could \
         not be checked. Run the pipeline, then ask the doctor again.";
    OF0131: "a target table is not there",
        "The table is created at the first start with `SET 'auto-create' = 'true'`, or by yourself. Until then its keys and \
         triggers cannot be looked at.";
    OF0132: "the brokers did not answer a question about topics",
        "`onceflow doctor` asks for the settings, replicas and ends of each topic. The brokers did not answer, or the user has no \
         right to describe topics and their configuration. Everything else was checked.";
}
