//! Which Kafka properties exist, and what becomes of each. Tables only.

/// librdkafka's name of a property that the user may set.
pub(super) fn librdkafka_name(key: &str) -> Option<&'static str> {
    let renamed = RENAMED.iter().find(|(java, _)| *java == key).map(|(_, name)| *name);
    renamed.or_else(|| GIVEN_ON.iter().copied().find(|name| *name == key))
}

/// Why a property has no effect.
pub(super) fn without_meaning(key: &str) -> Option<&'static str> {
    WITHOUT_MEANING.iter().find(|(keys, _)| keys.contains(&key)).map(|(_, why)| *why)
}

/// Why a property is refused, and what to write instead.
pub(super) fn refused(key: &str) -> Option<(&'static str, &'static str)> {
    let exact = REFUSED.iter().find(|(keys, ..)| keys.contains(&key));
    let exact = exact.map(|(_, why, help)| (*why, *help));
    exact.or_else(|| key.starts_with("sasl.kerberos.").then_some((KERBEROS, KERBEROS_HELP)))
}

/// The known name that is nearest to a mistyped one.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let java = RENAMED.iter().map(|(java, _)| *java);
    let names = GIVEN_ON.iter().copied().chain(java).chain(STORES_AND_LOGIN.iter().copied());
    let all = names.chain(["group.id", "isolation.level", "bootstrap.servers"]);
    let near = all.map(|name| (strsim::damerau_levenshtein(name, key), name)).min();
    near.filter(|(distance, name)| *distance <= 2 + name.len() / 6).map(|(_, name)| name)
}

/// Properties that are translated together: key stores, trust stores and logins.
pub(super) const STORES_AND_LOGIN: &[&str] = &[
    "sasl.jaas.config",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

const RENAMED: &[(&str, &str)] = &[
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("request.timeout.ms", "socket.timeout.ms"),
];

/// librdkafka's own names that a reader may be tuned with.
pub(super) const GIVEN_ON: &[&str] = &[
    "api.version.request.timeout.ms",
    "bootstrap.servers",
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "debug",
    "enable.metrics.push",
    "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "log.connection.close",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.oauthbearer.config",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.providers",
    "ssl.sigalgs.list",
    "topic.blacklist",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
];

const WITHOUT_MEANING: &[(&[&str], &str)] = &[
    (
        &["max.poll.records"],
        "how much is read at once is decided by 'epoch.rows_max' and by what the database keeps up with",
    ),
    (
        &["enable.auto.commit", "auto.commit.interval.ms", "auto.commit.enable", "commit.offsets.on.checkpoint"],
        "positions are committed in the database together with the rows; the group's offsets are only shown to others",
    ),
    (
        &["key.deserializer", "value.deserializer", "key.deserializer.encoding", "value.deserializer.encoding"],
        "'format', 'key.format' and 'value.format' say how bytes are read",
    ),
    (
        &[
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "max.poll.interval.ms",
            "partition.assignment.strategy",
            "group.instance.id",
            "group.protocol",
            "group.protocol.type",
            "group.remote.assignor",
            "coordinator.query.interval.ms",
        ],
        "Onceflow is no member of a consumer group: the ledger says who owns which partition",
    ),
    (
        &["partition.discovery.interval.ms"],
        "'scan.topic-partition-discovery.interval' says how often new partitions are looked for",
    ),
    (&["client.id.prefix"], "'properties.client.id' is used as it is"),
    (&["exclude.internal.topics"], "internal topics never match a pattern"),
    (&["default.api.timeout.ms", "socket.connection.setup.timeout.max.ms"], "librdkafka has no such limit"),
    (
        &[
            "metric.reporters",
            "metrics.num.samples",
            "metrics.recording.level",
            "metrics.sample.window.ms",
            "auto.include.jmx.reporter",
            "register.consumer.metrics",
            "statistics.interval.ms",
        ],
        "Onceflow has metrics of its own",
    ),
    (
        &[
            "ssl.protocol",
            "ssl.enabled.protocols",
            "ssl.provider",
            "ssl.keymanager.algorithm",
            "ssl.trustmanager.algorithm",
            "ssl.secure.random.implementation",
            "security.providers",
        ],
        "it configures the Java runtime; OpenSSL chooses TLS 1.2 or 1.3 by itself",
    ),
    (&["enable.partition.eof", "api.version.request", "topic.metadata.refresh.fast.cnt"], "Onceflow sets it by itself"),
];

const KERBEROS: &str = "this build has no Kerberos (GSSAPI)";
const KERBEROS_HELP: &str = "use SCRAM-SHA-512 or PLAIN over TLS, or TLS client certificates";
const OIDC: &str = "this build cannot fetch tokens (librdkafka without libcurl)";
const OWN: &str = "exactly-once reading depends on it, so Onceflow sets it by itself";

type Refusal = (&'static [&'static str], &'static str, &'static str);

const REFUSED: &[Refusal] = &[
    (
        &["auto.offset.reset"],
        "positions come from the ledger, and a position that does not exist any more must stop the pipeline",
        "'scan.startup.mode' = 'earliest-offset' or 'latest-offset' says where a new pipeline begins",
    ),
    (
        &["enable.auto.offset.store", "offset.store.method", "offset.store.path", "offset.store.sync.interval.ms"],
        OWN,
        "",
    ),
    (
        &["log_level", "log.queue", "log.thread.name"],
        "librdkafka's log goes into Onceflow's",
        "RUST_LOG=librdkafka=debug",
    ),
    (
        &["plugin.library.paths", "interceptor.classes", "interceptors"],
        "it would load foreign code into the process",
        "",
    ),
    (
        &["ssl.engine.location", "ssl.engine.id", "ssl.engine.factory.class"],
        "it would load foreign code into the process",
        "",
    ),
    (
        &["sasl.client.callback.handler.class", "sasl.login.callback.handler.class", "sasl.login.class"],
        "it names a Java class; logins that need one (AWS MSK IAM, for example) are not supported",
        "use SCRAM-SHA-512 or PLAIN over TLS, or TLS client certificates",
    ),
    (
        &[
            "sasl.oauthbearer.method",
            "sasl.oauthbearer.token.endpoint.url",
            "sasl.oauthbearer.client.id",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.scope",
            "sasl.oauthbearer.extensions",
            "sasl.oauthbearer.jwks.endpoint.url",
        ],
        OIDC,
        KERBEROS_HELP,
    ),
    (&["security.protocol.map"], "it is a broker's property", ""),
    (&["builtin.features", "test.mock.num.brokers"], "it is no property of a reader", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_knows_every_name_that_it_is_given() {
        for name in GIVEN_ON.iter().chain(RENAMED.iter().map(|(_, name)| name)) {
            assert!(is_known(name), "{name}");
        }
        assert!(!is_known("no.such.name"));
    }

    /// A known name may still refuse the value.
    fn is_known(name: &str) -> bool {
        let set = rdkafka::ClientConfig::new().set(name, "?").create_native_config();
        set.map_or_else(|error| !error.to_string().contains("No such configuration"), |_| true)
    }

    #[test]
    fn no_name_stands_in_two_tables() {
        let groups = [
            GIVEN_ON.to_vec(),
            RENAMED.iter().map(|(java, _)| *java).collect(),
            STORES_AND_LOGIN.to_vec(),
            WITHOUT_MEANING.iter().flat_map(|(keys, _)| keys.iter().copied()).collect(),
            REFUSED.iter().flat_map(|(keys, ..)| keys.iter().copied()).collect(),
        ];
        let mut all = groups.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("bootstrap.server"), Some("bootstrap.servers"));
        assert_eq!(nearest("ssl.truststore.locaton"), Some("ssl.truststore.location"));
        assert_eq!(nearest("completely.different"), None);
    }
}
