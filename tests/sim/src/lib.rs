//! A deterministic world for the agent's core
