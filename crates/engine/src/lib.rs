//! Containers and images as long-lived things.
