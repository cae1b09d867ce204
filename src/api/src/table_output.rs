//! The Table form.
