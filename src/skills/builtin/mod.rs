//! The skills that every installation has. The files never import each other.
