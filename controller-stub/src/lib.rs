//! The agent tests' controller: scripted answers, faults as data, its own oracle
