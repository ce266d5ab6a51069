//! Whole command lines in a temporary home.
