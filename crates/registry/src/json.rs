//! Part of the distribution client.
