//! Codes of the Kafka source.

codes! {
    OF0401: "kafka does not answer",
        "No broker of `bootstrap.servers` answered in time. Onceflow tries again with growing pauses until `--retry-for` is \
         over. Check the address, the listener (`advertised.listeners` is what clients are sent to after the first \
         contact), the network, and whether `security.protocol` is the listener's.";
    OF0402: "the broker refused the credentials",
        "SASL authentication failed. The mechanism, the user or the password is wrong, or the listener expects another \
         `security.protocol`. Look at `properties.sasl.mechanism` and `properties.sasl.jaas.config`.";
    OF0403: "TLS to the broker failed",
        "The TLS handshake failed: the broker's certificate is not signed by an authority of `ssl.truststore.*`, the name in \
         it is not the broker's, or the broker wants a client certificate. A plain listener reached with \
         `security.protocol=SSL` looks the same.";
    OF0404: "a topic does not exist",
        "Onceflow never creates topics. Create it, or correct `topic` in the text. Topic names are case sensitive.";
    OF0405: "the broker denies access",
        "The broker's ACLs do not allow it. A source needs DESCRIBE and READ on its topics, and where `group.id` is given \
         READ on the group.";
    OF0406: "an unknown Kafka property",
        "`properties.*` takes the names of the Java client and of librdkafka. A name that neither knows is refused, \
         since a mistyped one would otherwise be ignored.";
    OF0407: "a Kafka property that cannot be honoured",
        "The property asks for something that Onceflow does not do (`auto.offset.reset`: positions come from the ledger \
         only) or that this build cannot do (Java key stores, Kerberos, login by OIDC). The message says what to write instead.";
    OF0408: "a wrong value of a Kafka property",
        "The value is not one that the property takes.";
    OF0409: "the first position cannot be resolved",
        "The start-up mode names a position that does not exist: no offset committed for the group, or an offset outside \
         of the log. Onceflow does not guess another one. Choose another `scan.startup.mode`, or name the offsets.";
    OF0410: "records were deleted before they were read",
        "The log begins after the position in the ledger: retention or `kafka-delete-records` removed records that this \
         pipeline had not read. They are lost for it. Onceflow stops rather than skip them silently; an operator may accept \
         the gap, which is then written to the ledger.";
    OF0411: "the log was truncated",
        "The log ends before the position in the ledger, or its records have a newer leader epoch than the ones that were \
         read: an unclean leader election, a restored broker, or a mirror. What was read and committed is not what the log holds \
         now. Onceflow stops; an operator decides.";
    OF0412: "the topic was deleted and created again",
        "The topic has another id than in the ledger. Its offsets count in another log, so the position has no \
         meaning there. No record of the new topic was used. Start a new history of the pipeline, or point it at the old topic.";
    OF0413: "a batch in the log is corrupt",
        "The checksum, the compression or the format of a stored batch is wrong. librdkafka would skip the batch; Onceflow \
         stops, because its records would be lost. Look at the broker's disk and at other replicas with `kafka-dump-log`.";
    OF0414: "a record is too large to fetch",
        "The record is larger than `receive.message.max.bytes` allows (default 100 MB). Raise it in `properties.*`.";
    OF0415: "the topic pattern is no regular expression",
        "`topic-pattern` has to match the whole name, as in Flink. Look-around and back references are not supported.";
    OF0416: "reading had to be given up",
        "The broker or librdkafka reported an error after which it is not certain that reading goes on without a gap. Onceflow \
         reads again from the position in the ledger.";
    OF0417: "the end cannot be resolved",
        "The bounded mode names no end for a partition: no offset committed for the group, or no offset given in \
         `scan.bounded.specific-offsets`.";
    OF0418: "no topic matches the pattern",
        "The cluster has no topic (internal ones do not count) whose whole name matches `topic-pattern`, and discovery is switched off, so \
         none can appear later.";
}
