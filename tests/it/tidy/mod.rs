//! The repository tests itself.
//!
//! Each rule is a function from file texts to findings, so that a unit case can show it failing; `repository` holds
//! every rule against the files as they are.
//!
//! - [`source`]: files, and their code without comments and literals. [`paths`]: the paths that code names.
//! - [`layers`], [`cycles`], [`slices`]: who imports whom. [`purity`], [`contents`]: what a kind of file may hold.
//! - [`pages`], [`routes`], [`tree`]: documents that must agree with the code. [`leftovers`]: what must not stay.

mod contents;
mod cycles;
mod layers;
mod leftovers;
mod pages;
mod paths;
mod purity;
mod repository;
mod routes;
mod slices;
mod source;
mod tree;
