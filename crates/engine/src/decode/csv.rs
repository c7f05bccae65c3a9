//! See [`super::Decoder`].
