//! Codes of one part; see the ranges in the parent module.

codes! {}
