//! The agent: PID 1 of the default side, resident of the target

pub mod network;
