//! The first tier of the command line: the real binary over files and SQLite, with nothing installed. What it prints is kept
//! as snapshots; times, ids and folders are put out of the way first.

mod audit;
mod demo;
mod doctor;
mod files;
mod sandbox;
mod snapshots;
mod torture;
