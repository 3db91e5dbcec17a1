//! Layer `media`.

pub mod plain_image;
pub mod silence;
