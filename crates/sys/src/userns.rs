//! User namespaces and id maps.
