//! Who is who: pipelines, shards, partitions, and what makes a source the same source as yesterday.

use crate::number::hexadecimal;
use std::fmt;
use std::sync::Arc;

/// The identity of a pipeline in one home, drawn once when the pipeline is registered there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PipelineId(u128);

impl PipelineId {
    /// An identity from the 128 bits of a UUID.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits of the UUID.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Reads a UUID as text, with or without hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        hexadecimal(&digits).map(Self)
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// One partition of one source. A file is a topic with the single partition 0; its path is the topic's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition {
    /// The name of the source in the pipeline's text.
    pub source: Arc<str>,
    /// The topic, or the path of a file.
    pub topic: Arc<str>,
    /// The number of the partition in its topic.
    pub number: u32,
}

impl Partition {
    /// A partition of a source.
    pub fn new(source: impl Into<Arc<str>>, topic: impl Into<Arc<str>>, number: u32) -> Self {
        Self { source: source.into(), topic: topic.into(), number }
    }

    /// The shard that owns this partition where logic has no state that spans partitions.
    pub fn own_shard(&self) -> ShardId {
        ShardId::new(format!("{}/{}/{}", self.source, self.topic, self.number))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// The unit of ownership and of progress in one pipeline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// A shard by name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What makes a partition's log the same log as before: the cluster and the topic in it, not their names.
/// For files the cluster is `file` and the topic id is the file's own identity.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SourceIdentity {
    /// The id that the cluster reports; empty where the broker reports none.
    pub cluster_id: Arc<str>,
    /// The id that the cluster gave the topic when it was created; empty where the broker reports none.
    pub topic_id: Arc<str>,
}

impl SourceIdentity {
    /// An identity from its two parts.
    pub fn new(cluster_id: impl Into<Arc<str>>, topic_id: impl Into<Arc<str>>) -> Self {
        Self { cluster_id: cluster_id.into(), topic_id: topic_id.into() }
    }
}
