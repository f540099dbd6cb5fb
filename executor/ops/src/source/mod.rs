//! Sources: what a build takes from outside.

pub(crate) mod image;
pub(crate) mod local;

pub(crate) use image::ImageSource;
pub(crate) use local::LocalSource;
