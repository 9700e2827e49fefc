//! Whole roads on virtual machines, and the demo
