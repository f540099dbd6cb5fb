//! One file for each command.

pub(crate) mod build;
pub(crate) mod buildctl;
pub(crate) mod builder;
pub(crate) mod buildkitd;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod dial_stdio;
pub(crate) mod du;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod serve;
pub(crate) mod tag;
pub(crate) mod version;
