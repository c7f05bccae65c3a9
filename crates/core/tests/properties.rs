//! Properties of the protocol's core, over random histories and against models that are simpler than the core.

mod properties {
    pub mod algebra;
    pub mod claims;
    pub mod histories;
    pub mod values;
}
