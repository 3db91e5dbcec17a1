//! Layer `media`: placeholder audio and image files.

pub mod plain_image;
pub mod silence;
