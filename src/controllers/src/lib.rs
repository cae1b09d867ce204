//! The controllers: one module each, on one runtime of shared informers and keyed work queues.
pub mod runtime;
