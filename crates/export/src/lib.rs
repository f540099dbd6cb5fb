//! Results out of the house.
