//! What the house promises of itself: its rooms, its threats, its README and book.

pub(crate) mod book;
mod circles;
mod docs;
mod document;
mod openapi;
mod promises;
mod reference;
mod reference_pages;
