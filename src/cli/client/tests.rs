//! The client against a small server on this machine.
