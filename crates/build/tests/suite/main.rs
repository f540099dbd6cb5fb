//! Whole builds in this process: what becomes of files, contexts and addresses.

mod add;
mod contexts;
mod copy;
mod files;
mod git;
mod image;
mod place;
mod remote;
mod servers;
